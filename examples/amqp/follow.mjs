// SPDX-License-Identifier: Apache-2.0
// Follow the events of the account of this program's RabbitMQ user.
//
//   node follow.mjs amqp://billing:secret@127.0.0.1/chatmotor
//
// Prints one event a line.  An operator has made the queue:
// `chatmotor hook add billing --amqp`.

import amqp from "amqplib";

// Hands each event to `handle`, one after the other.
//
// What was not done when the program ends comes again: an event can come twice, and has
// the same messageId then, and the same `seq` or `conv` and `pos`.
async function follow(url, handle) {
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await channel.prefetch(50); // so many may be under way to us
  const queue = `cm.events.${decodeURIComponent(new URL(url).username)}`;
  let last = Promise.resolve();
  await channel.consume(queue, (message) => {
    last = last.then(async () => {
      await handle(JSON.parse(message.content));
      channel.ack(message); // now RabbitMQ may forget it
    });
  });
}

await follow(process.argv[2], async (event) => console.log(JSON.stringify(event)));

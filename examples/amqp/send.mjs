// SPDX-License-Identifier: Apache-2.0
// Send one message as the account of this program's RabbitMQ user.
//
//   node send.mjs amqp://billing:secret@127.0.0.1/chatmotor order-17 alice "Hello."
//
// Prints the answer.  Exit status 0: it is stored; 1: it was refused.

import amqp from "amqplib";

const REPLY_TO = "amq.rabbitmq.reply-to"; // RabbitMQ's own: answers come on this channel
const AGAIN_MS = 10_000;

// The answer to a `send`.  `cid` names this message for ever: under the same one it is
// stored once, however often it is sent.
async function send(url, cid, to, body) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  const answered = new Promise((resolve) => {
    channel.consume(REPLY_TO, (message) => resolve(JSON.parse(message.content)), {
      noAck: true,
    });
  });
  const command = Buffer.from(JSON.stringify({ op: "send", cid, to, body }));
  const properties = {
    userId: decodeURIComponent(new URL(url).username), // RabbitMQ checks it
    replyTo: REPLY_TO,
    persistent: true, // it outlives a restart of RabbitMQ
  };
  const ask = () => channel.publish("cm.in", "", command, properties);
  ask();
  const again = setInterval(ask, AGAIN_MS); // no answer: ask again
  const answer = await answered;
  clearInterval(again);
  await connection.close();
  return answer;
}

const answer = await send(...process.argv.slice(2, 6));
console.log(JSON.stringify(answer));
process.exitCode = answer.op === "ok" ? 0 : 1;

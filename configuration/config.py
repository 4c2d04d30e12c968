# The sample configuration: this machine only, everyone may be anyone.
# Every option, with its default and its reason: docs/reference/options.md.
CONFIGURATION = {
    "HTTP_SETTINGS": {},
    "TORNADO_LISTEN_PORT": 8888,
    "TORNADO_HOST": "127.0.0.1",
    # "rabbitmq" never falls back; "embedded" needs no RabbitMQ.
    "BROKER": "auto",
    "RABBIT_USERID": "guest",
    "RABBIT_PASSWORD": "guest",
    "RABBIT_HOST": "127.0.0.1",
    "RABBIT_PORT": 5672,
    "RABBIT_VHOST": "/",
    "INSTANT_MESSAGE_EXCHANGE_NAME": "im_exchange",
    # Names without an account.  Think before you listen on other addresses.
    "ALLOW_GUESTS": True,
}

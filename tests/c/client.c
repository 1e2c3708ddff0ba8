/* A server and its clients in one program: joining, talking, leaving, and everything that a host can do wrong. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#define LONG_BYTES 100000

struct log {
    int connectings, connects, disconnects, messages, updates, writables, shutdowns, lines, sent;
    int after_shutdown, stop_on_message, free_on_message, free_on_connecting, reconnect_on_disconnect;
    int on_own_thread;
    gk_client *client;
    int32_t code;
    size_t last_len;
    char text[256];
};

static void note(struct log *log, gk_client *client, int *counter) {
    pthread_mutex_lock(&test_lock);
    if (log->client == NULL) log->client = client;
    CHECK(log->client == client);
    if (log->shutdowns > 0) log->after_shutdown++;
    (*counter)++;
    pthread_mutex_unlock(&test_lock);
}

static void on_connecting(void *user_data, gk_client *client, const char *address) {
    struct log *log = user_data;
    CHECK(strchr(address, ':') != NULL);
    note(log, client, &log->connectings);
    if (log->free_on_connecting) {
        log->free_on_connecting = 0;
        gk_client_free(client);
    }
}

static void on_connect(void *user_data, gk_client *client, const gk_connect_info *info) {
    struct log *log = user_data;
    uint32_t token = 0;
    gk_event event;
    size_t count = 77;
    CHECK(info->struct_size == sizeof *info && info->token != 0 && info->door == GK_DOOR_UDP);
    OK(gk_client_token(client, &token));
    CHECK(token == info->token);
    EXPECT(GK_ERR_REENTRANT, gk_client_wait(client, 0));
    EXPECT(GK_ERR_REENTRANT, gk_client_disconnect_wait(client, 0));
    if (!log->on_own_thread) EXPECT(GK_ERR_REENTRANT, gk_client_poll(client, 0));
    EXPECT(GK_ERR_REENTRANT, gk_client_next_events(client, &event, sizeof event, 1, &count));
    CHECK(count == 77);
    OK(gk_client_send_guaranteed(client, (const uint8_t *)"hello", 5, NULL, NULL));
    note(log, client, &log->connects);
}

static void on_disconnect(void *user_data, gk_client *client, const gk_disconnect_info *info) {
    struct log *log = user_data;
    CHECK(info->struct_size == sizeof *info && info->text != NULL);
    pthread_mutex_lock(&test_lock);
    log->code = info->code;
    strncpy(log->text, info->text, sizeof log->text - 1);
    pthread_mutex_unlock(&test_lock);
    note(log, client, &log->disconnects);
    if (log->reconnect_on_disconnect) {
        log->reconnect_on_disconnect = 0;
        OK(gk_client_reconnect(client));
    }
}

static void on_message(void *user_data, gk_client *client, const gk_message *message) {
    struct log *log = user_data;
    CHECK(message->data != NULL);
    pthread_mutex_lock(&test_lock);
    log->last_len = message->len;
    pthread_mutex_unlock(&test_lock);
    note(log, client, &log->messages);
    if (log->stop_on_message) {
        OK(gk_client_stop(client));
        OK(gk_client_stop(client));
        EXPECT(GK_ERR_STATE, gk_client_reconnect(client));
    }
    if (log->free_on_message) {
        log->free_on_message = 0;
        gk_client_free(client);
    }
}

static void on_update(void *user_data, gk_client *client, const gk_update *update) {
    struct log *log = user_data;
    CHECK(update->tick > 0);
    note(log, client, &log->updates);
}

static void on_writable(void *user_data, gk_client *client) {
    struct log *log = user_data;
    note(log, client, &log->writables);
}

static void on_shutdown(void *user_data, gk_client *client) {
    struct log *log = user_data;
    note(log, client, &log->shutdowns);
}

static void on_log(void *user_data, gk_client *client, gk_log_level level, const char *text) {
    struct log *log = user_data;
    CHECK(level >= GK_LOG_ERROR && text != NULL);
    note(log, client, &log->lines);
}

static void on_sent(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome) {
    struct log *log = user_data;
    CHECK(server == NULL && peer == GK_PEER_NONE && outcome == GK_SENT_DELIVERED);
    add(&log->sent, 1);
}

/* The server sends back what it gets, guaranteed. */
static void echo(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data;
    OK(gk_server_send_guaranteed(server, peer, message->data, message->len, NULL, NULL));
}

static gk_server *echoing(void) {
    gk_context *context;
    gk_server *server;
    context = patient_context();
    OK(gk_context_on_message(context, echo, NULL));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    return server;
}

static gk_context *context_for(struct log *log) {
    gk_context *context;
    context = patient_context();
    OK(gk_context_set_wire(context, GK_WIRE_MPGAMESERVER));
    OK(gk_context_trust_any_server(context));
    if (log == NULL) return context;
    OK(gk_context_on_client_connecting(context, on_connecting, log));
    OK(gk_context_on_client_connect(context, on_connect, log));
    OK(gk_context_on_client_disconnect(context, on_disconnect, log));
    OK(gk_context_on_client_message(context, on_message, log));
    OK(gk_context_on_client_update(context, on_update, log));
    OK(gk_context_on_client_writable(context, on_writable, log));
    OK(gk_context_on_client_shutdown(context, on_shutdown, log));
    OK(gk_context_on_client_log(context, on_log, log));
    return context;
}

static const char *address_of(const gk_server *server) {
    static char address[64];
    size_t length;
    OK(gk_server_address(server, address, sizeof address, &length));
    return address;
}

/* Waits for a counter; polls the client meanwhile if it is given. */
static void until(const char *what, const int *counter, int least, gk_client *polled) {
    int step;
    for (step = 0; step < WAIT_STEPS && value(counter) < least; step++) {
        if (polled != NULL) {
            OK(gk_client_poll(polled, WAIT_STEP_NS / 1000));
        } else {
            sleep_step();
        }
    }
    if (value(counter) < least) {
        fprintf(stderr, "waited for %s in vain: %d of %d\n", what, value(counter), least);
        exit(1);
    }
}

static void talks(int own_thread) {
    static uint8_t large[LONG_BYTES];
    struct log log = {0};
    gk_server *server = echoing();
    gk_context *context = context_for(&log);
    gk_client *client, *polled;
    gk_send_options options;
    gk_peer_stats_t stats;
    gk_status status;
    uint8_t key[91];
    char address[64];
    size_t length, queued;
    uint64_t latency;
    uint32_t stopped = 77;

    log.on_own_thread = own_thread;
    OK(gk_server_public_key_der(server, key, sizeof key, &length));
    OK(gk_context_pin_root_key(context, key, length));
    OK((own_thread ? gk_client_start : gk_client_open)(context, address_of(server), &client));
    gk_context_free(context);
    polled = own_thread ? NULL : client;
    until("connect", &log.connects, 1, polled);
    CHECK(log.client == client && log.connectings == 1);
    OK(gk_client_status(client, &status));
    CHECK(status == GK_STATUS_CONNECTED);
    memset(key, 0, sizeof key);
    OK(gk_client_server_root_key_der(client, key, sizeof key, &length));
    CHECK(length == 91 && key[0] == 0x30);
    EXPECT(GK_ERR_STATE, gk_client_server_native_key(client, key, sizeof key, &length));
    OK(gk_client_server_address(client, address, sizeof address, &length));
    CHECK(strcmp(address, address_of(server)) == 0);
    OK(gk_client_local_address(client, address, sizeof address, &length));
    CHECK(strlen(address) == length);
    until("the echo of hello", &log.messages, 1, polled);

    memset(large, 'x', sizeof large);
    OK(gk_client_send_guaranteed(client, large, sizeof large, on_sent, &log));
    OK(gk_client_queued_bytes(client, &queued));
    CHECK(queued >= sizeof large || own_thread);
    OK(gk_send_options_init(&options, sizeof options));
    options.retry = GK_RETRY_BEST_EFFORT;
    options.on_sent = on_sent;
    options.user_data = &log;
    OK(gk_client_send(client, NULL, 0, &options));
    OK(gk_client_send(client, (const uint8_t *)"once", 4, NULL));
    options.on_sent = NULL;
    options.notify = 1;
    EXPECT_TEXT(GK_ERR_STATE, "event queue", gk_client_send(client, NULL, 0, &options));
    options.notify = 2;
    EXPECT(GK_ERR_ARGUMENT, gk_client_send(client, NULL, 0, &options));
    until("outcomes", &log.sent, 2, polled);
    until("echoes", &log.messages, 3, polled);
    OK(gk_peer_stats_init(&stats, sizeof stats));
    OK(gk_client_stats(client, &stats));
    CHECK(stats.received > 0 && stats.messages_received >= 3 && stats.bytes_sent > LONG_BYTES);
    OK(gk_client_latency_us(client, &latency));
    CHECK(latency == stats.latency_us || own_thread);

    log.reconnect_on_disconnect = 1;
    OK(gk_client_disconnect(client));
    until("the second session", &log.connects, 2, polled);
    CHECK(log.disconnects == 1 && log.code == GK_DISCONNECT_LOCAL);
    OK(gk_client_disconnect_wait(client, 60000000));
    CHECK(value(&log.disconnects) == 2);
    OK(gk_client_status(client, &status));
    CHECK(status == GK_STATUS_DISCONNECTED);
    EXPECT_TEXT(GK_ERR_STATE, "not connected", gk_client_send(client, NULL, 0, NULL));
    EXPECT(own_thread ? GK_ERR_STATE : GK_OK, gk_client_poll(client, 0));
    OK(gk_client_is_stopped(client, &stopped));
    CHECK(stopped == 0);
    EXPECT(GK_ERR_TIMEOUT, gk_client_wait(client, 0));
    OK(gk_client_stop(client));
    OK(gk_client_stop(client));
    OK(gk_client_wait(client, GK_FOREVER));
    OK(gk_client_is_stopped(client, &stopped));
    CHECK(stopped == 1 && log.shutdowns == 1 && log.after_shutdown == 0 && log.updates > 0 && log.lines > 0);
    EXPECT(GK_ERR_STATE, gk_client_poll(client, 0));
    EXPECT(GK_ERR_STATE, gk_client_disconnect(client));
    EXPECT(GK_ERR_STATE, gk_client_reconnect(client));
    gk_client_free(client);
    gk_server_free(server);
}

/* A client is stopped or freed inside its own callback; in a polled one that happens before the poll returns. */
static void ends_inside_callbacks(int own_thread) {
    int way;
    for (way = 0; way < 3; way++) {
        struct log log = {0};
        gk_server *server = echoing();
        gk_context *context = context_for(&log);
        gk_client *client;
        int step;
        log.on_own_thread = own_thread;
        log.stop_on_message = way == 0;
        log.free_on_message = way == 1;
        log.free_on_connecting = way == 2;
        OK((own_thread ? gk_client_start : gk_client_open)(context, address_of(server), &client));
        gk_context_free(context);
        for (step = 0; step < WAIT_STEPS && value(&log.shutdowns) == 0; step++) {
            /* Once the callback has freed it the pointer is no good: it has ended by then. */
            if (own_thread) sleep_step();
            else OK(gk_client_poll(client, WAIT_STEP_NS / 1000));
        }
        CHECK(value(&log.shutdowns) == 1 && log.after_shutdown == 0 && value(&log.disconnects) == 1);
        if (way == 0) gk_client_free(client);
        gk_server_free(server);
    }
}

static void pulls(void) {
    gk_server *server = echoing();
    gk_context *context = context_for(NULL);
    gk_client *client;
    gk_event events[16];
    size_t count, at;
    int marker = 0, connecting = 0, connected = 0, sent = 0, echoed = 0, shut = 0, step;
    uint64_t timeout = 77;
    int32_t descriptor = -1;
    gk_send_options options;

    OK(gk_context_set_max_queued_events(context, 100));
    OK(gk_client_open(context, address_of(server), &client));
    gk_context_free(context);
    OK(gk_client_next_timeout_us(client, &timeout));
    CHECK(timeout != 77);
    OK(gk_client_descriptor(client, &descriptor));
    CHECK(descriptor >= 0);
    EXPECT(GK_ERR_ARGUMENT, gk_client_next_events(client, events, 3, 1, &count));
    EXPECT(GK_ERR_NULL, gk_client_next_events(client, NULL, sizeof events[0], 1, &count));
    OK(gk_client_next_events(client, NULL, sizeof events[0], 0, &count));
    OK(gk_send_options_init(&options, sizeof options));
    options.retry = GK_RETRY_ON_TIMEOUT;
    options.notify = 1;
    options.user_data = &marker;
    for (step = 0; step < WAIT_STEPS && !(sent && echoed); step++) {
        OK(gk_client_poll(client, WAIT_STEP_NS / 1000));
        OK(gk_client_next_events(client, events, sizeof events[0], 16, &count));
        for (at = 0; at < count; at++) {
            const gk_event *event = &events[at];
            CHECK(event->struct_size == sizeof *event && event->peer == GK_PEER_NONE);
            if (event->type == GK_EVENT_CONNECTING) {
                connecting += strcmp(event->text, address_of(server)) == 0;
            } else if (event->type == GK_EVENT_CONNECT) {
                connected += event->token != 0;
                OK(gk_client_send(client, (const uint8_t *)"pulled", 6, &options));
            } else if (event->type == GK_EVENT_SENT) {
                sent += event->user_data == &marker && event->code == GK_SENT_DELIVERED;
            } else if (event->type == GK_EVENT_MESSAGE) {
                echoed += event->len == 6 && memcmp(event->data, "pulled", 6) == 0;
            }
        }
    }
    CHECK(connecting == 1 && connected == 1 && sent == 1 && echoed == 1);
    OK(gk_client_wake(client));
    OK(gk_client_poll(client, GK_FOREVER));
    OK(gk_client_stop(client));
    do {
        OK(gk_client_next_events(client, events, sizeof events[0], 16, &count));
        for (at = 0; at < count; at++) {
            if (events[at].type == GK_EVENT_DISCONNECT) CHECK(events[at].code == GK_DISCONNECT_LOCAL);
            shut += events[at].type == GK_EVENT_SHUTDOWN;
        }
    } while (count > 0);
    CHECK(shut == 1);
    gk_client_free(client);
    gk_server_free(server);
}

/* Nobody there, another key, no name: one disconnect event each, with its code. */
static void cannot_connect(void) {
    char label[70];
    struct log log = {0}, wrong = {0}, unknown = {0};
    gk_server *server = echoing();
    gk_context *context = context_for(&wrong);
    gk_client *client;
    gk_key *stranger;
    uint8_t der[91];
    size_t length;

    OK(gk_key_generate(&stranger));
    OK(gk_key_public_der(stranger, der, sizeof der, &length));
    gk_key_free(stranger);
    OK(gk_context_pin_root_key(context, der, length));
    OK(gk_context_set_handshake_timeout_us(context, 200000));
    OK(gk_client_start(context, address_of(server), &client));
    gk_context_free(context);
    until("another key", &wrong.disconnects, 1, NULL);
    CHECK(wrong.code == GK_DISCONNECT_KEY && wrong.connects == 0);
    gk_client_free(client);

    context = context_for(&log);
    OK(gk_context_set_handshake_timeout_us(context, 200000));
    {
        char address[64];
        strcpy(address, address_of(server));
        gk_server_free(server);
        OK(gk_client_open(context, address, &client));
    }
    gk_context_free(context);
    until("nobody", &log.disconnects, 1, client);
    CHECK(log.code == GK_DISCONNECT_NOBODY_LISTENS || log.code == GK_DISCONNECT_TIMEOUT);
    gk_client_free(client);
    CHECK(log.disconnects == 1 && log.shutdowns == 1);

    /* Longer than DNS has: nobody is asked. */
    memset(label, 'a', 64);
    strcpy(label + 64, ":1");
    context = context_for(&unknown);
    OK(gk_client_start(context, label, &client));
    gk_context_free(context);
    until("no such name", &unknown.disconnects, 1, NULL);
    CHECK(unknown.code == GK_DISCONNECT_NAME && unknown.connectings == 0);
    gk_client_free(client);
}

static void refused_at_once(void) {
    gk_context *context;
    gk_client *client = NULL;
    uint8_t key[32] = {1};

    OK(gk_context_new(&context));
    EXPECT_TEXT(GK_ERR_KEY, "trust_any_server", gk_client_open(context, "127.0.0.1:1", &client));
    OK(gk_context_pin_native_key(context, key, sizeof key));
    OK(gk_context_set_wire(context, GK_WIRE_MPGAMESERVER));
    EXPECT_TEXT(GK_ERR_KEY, "P-256", gk_client_open(context, "127.0.0.1:1", &client));
    OK(gk_context_trust_any_server(context));
    EXPECT(GK_ERR_ADDRESS, gk_client_open(context, "127.0.0.1", &client));
    EXPECT(GK_ERR_ADDRESS, gk_client_open(context, ":1", &client));
    EXPECT(GK_ERR_UTF8, gk_client_open(context, "ab\xff:1", &client));
    OK(gk_context_set_join_data(context, key, sizeof key));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "join data", gk_client_open(context, "127.0.0.1:1", &client));
    OK(gk_context_set_join_data(context, NULL, 0));
    OK(gk_context_set_password(context, (const uint8_t *)"secret", 6));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "password", gk_client_open(context, "127.0.0.1:1", &client));
    OK(gk_context_set_password(context, NULL, 0));
    CHECK(client == NULL);
    OK(gk_client_open(context, "127.0.0.1:1", &client));
    gk_client_free(client);
    /* A server takes any bytes, and so does its client. */
    OK(gk_context_set_password(context, (const uint8_t *)"\xff\x00\x01", 3));
    OK(gk_context_set_wire(context, GK_WIRE_NATIVE));
    OK(gk_context_pin_native_key(context, key, sizeof key));
    OK(gk_client_open(context, "127.0.0.1:1", &client));
    gk_client_free(client);
    gk_context_free(context);
}

int main(void) {
    refused_at_once();
    talks(0);
    talks(1);
    ends_inside_callbacks(0);
    ends_inside_callbacks(1);
    pulls();
    cannot_connect();
    puts("ok");
    return 0;
}

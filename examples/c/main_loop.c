/*
 * A chat room hosted from a main loop, as a game does it: no other thread, callbacks only from inside
 * gk_server_poll. Everything that a client says goes to all others. Usage: main_loop [address]
 * Ends with SIGINT (Ctrl-C) or SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L
#include <gamekeeper.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t ended;

static void on_signal(int signal) {
    (void)signal;
    ended = 1;
}

struct room {
    int guests;
    double seconds;
};

static void say(gk_server *server, gk_peer except, const void *data, size_t len) {
    gk_send_options options;
    gk_result result = gk_send_options_init(&options, sizeof options);
    options.retry = GK_RETRY_ON_TIMEOUT;
    if (result == GK_OK) result = gk_server_broadcast(server, except, data, len, &options, NULL);
    if (result != GK_OK) fprintf(stderr, "not said: %s\n", gk_result_str(result));
}

static void on_connect(void *user_data, gk_server *server, gk_peer peer, const gk_connect_info *info) {
    struct room *room = user_data;
    room->guests++;
    printf("%s came, %d here\n", info->address, room->guests);
    fflush(stdout);
    say(server, peer, "somebody came", strlen("somebody came"));
}

static void on_disconnect(void *user_data, gk_server *server, gk_peer peer, const gk_disconnect_info *info) {
    struct room *room = user_data;
    room->guests--;
    printf("somebody left (%s), %d here\n", info->text, room->guests);
    fflush(stdout);
    say(server, peer, "somebody left", strlen("somebody left"));
}

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data;
    say(server, peer, message->data, message->len);
}

static void on_update(void *user_data, gk_server *server, const gk_update *update) {
    struct room *room = user_data;
    (void)server;
    room->seconds += update->seconds;
}

static int run(gk_server *server) {
    while (!ended) {
        /* A frame of the game would be drawn here; without one, the poll may wait for a frame's time. */
        gk_result result = gk_server_poll(server, 16000);
        if (result != GK_OK) {
            fprintf(stderr, "the server ended: %s\n", gk_result_str(result));
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:1474";
    struct room room = {0, 0};
    struct sigaction action;
    gk_context *context = NULL;
    gk_server *server = NULL;
    char text[256] = "";
    size_t len = 0;
    int status;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    gk_result result = gk_context_new(&context);
    if (result == GK_OK) result = gk_context_on_connect(context, on_connect, &room);
    if (result == GK_OK) result = gk_context_on_disconnect(context, on_disconnect, &room);
    if (result == GK_OK) result = gk_context_on_message(context, on_message, &room);
    if (result == GK_OK) result = gk_context_on_update(context, on_update, &room);
    if (result == GK_OK) result = gk_server_open(context, address, &server);
    gk_context_free(context);
    if (result == GK_OK) result = gk_server_address(server, text, sizeof text, &len);
    if (result != GK_OK) {
        gk_last_error(text, sizeof text);
        fprintf(stderr, "cannot serve on %s: %s\n", address, text);
        return 1;
    }
    printf("listening on %s\n", text);
    fflush(stdout);
    status = run(server);
    /* Says goodbye to those who are still here; their disconnects are reported from inside. */
    gk_server_free(server);
    printf("open for %.1f s\n", room.seconds);
    return status;
}

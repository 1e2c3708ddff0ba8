/*
 * An echo server on a thread of its own. Usage: echo_server [address]
 * Ends with SIGINT (Ctrl-C) or SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L
#include <gamekeeper.h>

#include <signal.h>
#include <stdio.h>

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data;
    if (gk_server_send_guaranteed(server, peer, message->data, message->len, NULL, NULL) != GK_OK)
        fprintf(stderr, "a message could not be echoed\n");
}

int main(int argc, char **argv) {
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:1474";
    gk_context *context = NULL;
    gk_server *server = NULL;
    char text[256];
    size_t len;
    sigset_t signals;
    int signal;

    /* Before the server's thread starts, so that the signals come to sigwait and not there. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    gk_result result = gk_context_new(&context);
    if (result == GK_OK) result = gk_context_on_message(context, on_message, NULL);
    if (result == GK_OK) result = gk_server_start(context, address, &server);
    if (result == GK_OK) result = gk_server_address(server, text, sizeof text, &len);
    gk_context_free(context);
    if (result != GK_OK) {
        gk_last_error(text, sizeof text);
        fprintf(stderr, "cannot serve on %s: %s\n", address, text);
        return 1;
    }
    printf("listening on %s\n", text);
    fflush(stdout);
    sigwait(&signals, &signal);
    gk_server_free(server);
    return 0;
}

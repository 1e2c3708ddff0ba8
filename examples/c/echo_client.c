/*
 * A client that says hello and prints the answer. Usage: echo_client [address]
 * Ends when the answer has come, or when there is no server.
 */
#include <gamekeeper.h>

#include <stdio.h>

struct game {
    int answered, ended;
};

static void on_connect(void *user_data, gk_client *client, const gk_connect_info *info) {
    (void)user_data;
    printf("connected to %s\n", info->address);
    if (gk_client_send_guaranteed(client, (const uint8_t *)"hello", 5, NULL, NULL) != GK_OK)
        fprintf(stderr, "hello could not be sent\n");
}

static void on_message(void *user_data, gk_client *client, const gk_message *message) {
    struct game *game = user_data;
    (void)client;
    printf("answered %.*s\n", (int)message->len, (const char *)message->data);
    game->answered = 1;
}

static void on_disconnect(void *user_data, gk_client *client, const gk_disconnect_info *info) {
    struct game *game = user_data;
    (void)client;
    printf("disconnected: %s\n", info->text);
    game->ended = 1;
}

int main(int argc, char **argv) {
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:1474";
    struct game game = {0, 0};
    gk_context *context = NULL;
    gk_client *client = NULL;
    char text[256];

    gk_result result = gk_context_new(&context);
    if (result == GK_OK) result = gk_context_set_wire(context, GK_WIRE_MPGAMESERVER);
    /* Beyond one's own machine: gk_context_pin_root_key. */
    if (result == GK_OK) result = gk_context_trust_any_server(context);
    if (result == GK_OK) result = gk_context_on_client_connect(context, on_connect, &game);
    if (result == GK_OK) result = gk_context_on_client_message(context, on_message, &game);
    if (result == GK_OK) result = gk_context_on_client_disconnect(context, on_disconnect, &game);
    if (result == GK_OK) result = gk_client_open(context, address, &client);
    gk_context_free(context);
    /* A game polls once a frame with 0; this one has nothing else to do. */
    while (result == GK_OK && !game.answered && !game.ended) result = gk_client_poll(client, GK_FOREVER);
    if (result == GK_OK && !game.ended) result = gk_client_disconnect_wait(client, 5000000);
    if (result != GK_OK) {
        gk_last_error(text, sizeof text);
        fprintf(stderr, "cannot play at %s: %s\n", address, text);
    }
    gk_client_free(client);
    return result == GK_OK && game.answered ? 0 : 1;
}

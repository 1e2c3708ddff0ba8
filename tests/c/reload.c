/* A host that loads the library at run time, closes it while a server runs, and opens it again. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <dlfcn.h>

static int messages;

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data, (void)server, (void)peer, (void)message;
    add(&messages, 1);
}

/* ISO C has no cast from an object's pointer to a function's. */
#define LOAD(library, function)                               \
    do {                                                      \
        void *symbol = dlsym((library), #function);           \
        CHECK(symbol != NULL);                                \
        memcpy(&loaded_##function, &symbol, sizeof symbol);   \
    } while (0)

int main(int argc, char **argv) {
    gk_result (*loaded_gk_context_new)(gk_context **);
    gk_result (*loaded_gk_context_on_message)(gk_context *, gk_message_fn, void *);
    void (*loaded_gk_context_free)(gk_context *);
    gk_result (*loaded_gk_server_start)(const gk_context *, const char *, gk_server **);
    gk_result (*loaded_gk_server_port)(const gk_server *, uint16_t *);
    void (*loaded_gk_server_free)(gk_server *);
    gk_context *context = NULL;
    gk_server *server = NULL;
    uint16_t port = 0;
    void *library;
    int step;
    CHECK(argc == 2);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    LOAD(library, gk_context_new);
    LOAD(library, gk_context_on_message);
    LOAD(library, gk_context_free);
    LOAD(library, gk_server_start);
    LOAD(library, gk_server_port);
    CHECK(loaded_gk_context_new(&context) == GK_OK);
    CHECK(loaded_gk_context_on_message(context, on_message, NULL) == GK_OK);
    CHECK(loaded_gk_server_start(context, "127.0.0.1:0", &server) == GK_OK);
    CHECK(loaded_gk_server_port(server, &port) == GK_OK);
    loaded_gk_context_free(context);
    CHECK(dlclose(library) == 0);

    /* Nobody holds the library, and its thread serves a client that comes now. */
    printf("client %u\n", (unsigned)port);
    fflush(stdout);
    for (step = 0; step < WAIT_STEPS && value(&messages) == 0; step++) sleep_step();
    CHECK(value(&messages) == 1);

    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    LOAD(library, gk_server_free);
    loaded_gk_server_free(server);
    CHECK(dlclose(library) == 0);
    puts("ok");
    return 0;
}

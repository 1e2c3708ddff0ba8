/*
 * What the C test programs share. A check that fails says where and ends the program with 1. Programs that
 * need a client ask for one on their output: "client PORT" makes the test that runs them connect one, which
 * says "hello", guaranteed, and sends back, guaranteed, whatever it gets.
 */
#ifndef TEST_H
#define TEST_H

#include <gamekeeper.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Waits are bounded, and generous: a machine under valgrind and two builds is slow. */
#define WAIT_STEPS 20000
#define WAIT_STEP_NS 5000000

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

static inline void check_result(gk_result got, gk_result expected, const char *call, const char *file, int line) {
    if (got != expected) {
        char text[512];
        gk_last_error(text, sizeof text);
        fprintf(stderr, "%s:%d: %s is %d (%s), expected %d (%s); last error: %s\n", file, line, call, (int)got,
                gk_result_str(got), (int)expected, gk_result_str(expected), text);
        exit(1);
    }
}

#define EXPECT(expected, call) check_result((call), (expected), #call, __FILE__, __LINE__)
#define OK(call) EXPECT(GK_OK, call)

/* The call fails, and the last error says something with this word. */
#define EXPECT_TEXT(expected, word, call)                                               \
    do {                                                                                \
        char last_error[1024];                                                          \
        EXPECT(expected, call);                                                         \
        gk_last_error(last_error, sizeof last_error);                                   \
        if (strstr(last_error, (word)) == NULL) {                                       \
            fprintf(stderr, "%s:%d: no \"%s\" in \"%s\"\n", __FILE__, __LINE__, (word), \
                    last_error);                                                        \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

static inline void sleep_step(void) {
    struct timespec step = {0, WAIT_STEP_NS};
    nanosleep(&step, NULL);
}

/* Counters are changed by the server's thread and read by main. */
static pthread_mutex_t test_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void add(int *counter, int amount) {
    pthread_mutex_lock(&test_lock);
    *counter += amount;
    pthread_mutex_unlock(&test_lock);
}

static inline int value(const int *counter) {
    int result;
    pthread_mutex_lock(&test_lock);
    result = *counter;
    pthread_mutex_unlock(&test_lock);
    return result;
}

/* Waits until a counter has a value; polls the server meanwhile if it is given. */
static inline void await(const char *what, const int *counter, int least, gk_server *polled) {
    int step;
    for (step = 0; step < WAIT_STEPS && value(counter) < least; step++) {
        if (polled != NULL) {
            OK(gk_server_poll(polled, WAIT_STEP_NS / 1000));
        } else {
            sleep_step();
        }
    }
    if (value(counter) < least) {
        fprintf(stderr, "waited for %s in vain: %d of %d\n", what, value(counter), least);
        exit(1);
    }
}

/* A handshake under valgrind on a busy machine takes longer than the two seconds of the default. */
#define SLOW_HANDSHAKE_US 60000000

static inline gk_context *patient_context(void) {
    gk_context *context = NULL;
    OK(gk_context_new(&context));
    OK(gk_context_set_handshake_timeout_us(context, SLOW_HANDSHAKE_US));
    return context;
}

static inline unsigned port_of(const gk_server *server) {
    uint16_t port = 0;
    OK(gk_server_port(server, &port));
    CHECK(port != 0);
    return port;
}

static inline void ask_for_client(const gk_server *server) {
    printf("client %u\n", port_of(server));
    fflush(stdout);
}

#endif

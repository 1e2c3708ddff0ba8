// An echo server on a thread of its own. Usage: echo_server [address]
// Ends with SIGINT (Ctrl-C) or SIGTERM.
#include <gamekeeper.hpp>

#include <csignal>
#include <iostream>

static gk::expected<gk::server> start(const std::string &address) {
    auto context = gk::context::create();
    if (!context) return context.result();
    context->on_message([](gk::server_ref server, gk::peer peer, const gk_message &message) {
        // Throws if the peer's queue is full; what is thrown goes to on_exception.
        server.send_guaranteed(peer, message).or_throw();
    });
    context->on_exception([](std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::exception &error) {
            std::cerr << "in a callback: " << error.what() << "\n";
        }
    });
    return gk::server::start(*context, address);
}

int main(int argc, char **argv) {
    // Before the server's thread starts, so that the signals come to sigwait and not there.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    auto server = start(argc > 1 ? argv[1] : "127.0.0.1:1474");
    if (!server) {
        std::cerr << "cannot serve: " << server.text() << "\n";
        return 1;
    }
    std::cout << "listening on " << server->address().value() << std::endl;
    int signal = 0;
    sigwait(&signals, &signal);
}

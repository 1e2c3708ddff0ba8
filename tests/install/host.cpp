// The same through the wrapper.
#include <gamekeeper.hpp>
#include <iostream>

int main() {
    auto context = gk::context::create().value();
    auto server = gk::server::start(context, "127.0.0.1:0").value();
    std::cout << "hosted by " << (server.port().value() != 0 ? gk_version_str() : "nobody") << std::endl;
}

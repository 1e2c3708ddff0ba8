/* Hosts a server for a moment: headers and library are of one version, and both work. */
#include <gamekeeper.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    uint16_t port = 0;
    if (strcmp(gk_version_str(), GK_VERSION_STR) != 0) return 2;
    if (gk_context_new(&context) != GK_OK) return 3;
    if (gk_server_start(context, "127.0.0.1:0", &server) != GK_OK) return 4;
    gk_context_free(context);
    if (gk_server_port(server, &port) != GK_OK || port == 0) return 5;
    gk_server_free(server);
    printf("hosted by %s\n", gk_version_str());
    return 0;
}

/* A client with libssl inside. One connection after the other, each with one request:
 *
 *     linked PORT CA PATH [read|leave BODY]...
 *
 * `read` reads the answer to its end, `leave` only its beginning, and prints what it has read. It begins
 * when it is sent SIGUSR1, so that it can be looked at before.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int well, const char *what) {
    if (!well) {
        fprintf(stderr, "%s failed\n", what);
        exit(1);
    }
}

static void request(SSL_CTX *context, int port, const char *path, int whole, const char *body) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(socket_, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    SSL *ssl = SSL_new(context);
    SSL_set1_host(ssl, "localhost");
    SSL_set_fd(ssl, socket_);
    check(SSL_connect(ssl) == 1, "handshake");
    char head[512];
    int length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                          path, port, strlen(body));
    check(SSL_write(ssl, head, length) == length, "write");
    check(SSL_write(ssl, body, (int)strlen(body)) == (int)strlen(body), "write");
    char buffer[4096];
    int read;
    do {
        read = SSL_read(ssl, buffer, sizeof buffer);
        if (read > 0) fwrite(buffer, 1, (size_t)read, stdout);
    } while (whole && read > 0);
    SSL_free(ssl);
    close(socket_);
}

int main(int argc, char **argv) {
    sigset_t signals;
    int signal_;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    check(argc >= 4, "reading the arguments");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    check(SSL_CTX_load_verify_locations(context, argv[2], NULL), "reading the authority");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    sigwait(&signals, &signal_);
    for (int i = 4; i + 1 < argc; i += 2)
        request(context, atoi(argv[1]), argv[3], strcmp(argv[i], "read") == 0, argv[i + 1]);
    return 0;
}

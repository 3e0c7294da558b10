/* One thread writes and another reads the same connection, call after call on it:
 *
 *     two_threads PORT CA PATH BODY CALLS BUSY
 *
 * Beside them BUSY threads do nothing for all that they are worth, and the writer comes after them: it is often
 * not run when its system call is over, and the answer is read before the function that wrote has returned.
 * Prints how often that was so.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL *ssl;
static sem_t answered;
static atomic_int over, writing;
static char request[8192];
static int length, calls, early;

static void check(int well, const char *what) {
    if (!well) {
        fprintf(stderr, "%s failed\n", what);
        exit(1);
    }
}

static void *idle(void *unused) {
    while (!over) {}
    return unused;
}

static void *write_requests(void *unused) {
    /* Whoever else has something to do comes first. */
    struct sched_param none = {0};
    check(pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) == 0, "setting the priority");
    for (int i = 0; i < calls; i++) {
        writing = 1;
        check(SSL_write(ssl, request, length) == length, "write");
        writing = 0;
        sem_wait(&answered);
    }
    return unused;
}

/* Reads an answer that has a length, to its end. */
static void read_answer(void) {
    static char buffer[65536];
    size_t have = 0, want = 0;
    while (want == 0 || have < want) {
        int read = SSL_read(ssl, buffer + have, (int)(sizeof buffer - 1 - have));
        check(read > 0, "read");
        early += have == 0 && writing;
        have += (size_t)read;
        buffer[have] = 0;
        char *end = strstr(buffer, "\r\n\r\n"), *size = strcasestr(buffer, "\r\ncontent-length:");
        if (want == 0 && end != NULL) {
            check(size != NULL && size < end, "finding the length");
            want = (size_t)(end + 4 - buffer) + strtoul(size + 17, NULL, 10);
        }
    }
}

int main(int argc, char **argv) {
    check(argc == 7, "reading the arguments");
    int port = atoi(argv[1]), busy = atoi(argv[6]);
    calls = atoi(argv[5]);
    length = snprintf(request, sizeof request,
                      "POST %s HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/json\r\n"
                      "Content-Length: %zu\r\n\r\n%s",
                      argv[3], port, strlen(argv[4]), argv[4]);
    check(length < (int)sizeof request, "reading the arguments");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    /* TLS 1.3 may have a read change the keys of writes. */
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    check(SSL_CTX_load_verify_locations(context, argv[2], NULL), "reading the authority");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(socket_, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    ssl = SSL_new(context);
    SSL_set1_host(ssl, "localhost");
    SSL_set_fd(ssl, socket_);
    check(SSL_connect(ssl) == 1, "handshake");
    sem_init(&answered, 0, 0);
    pthread_t writer, thread;
    for (int i = 0; i < busy; i++) check(pthread_create(&thread, NULL, idle, NULL) == 0, "thread");
    check(pthread_create(&writer, NULL, write_requests, NULL) == 0, "thread");
    for (int i = 0; i < calls; i++) {
        read_answer();
        sem_post(&answered);
    }
    pthread_join(writer, NULL);
    over = 1;
    printf("early %d\n", early);
    return 0;
}

// Moves a known pattern through libssl in the ways that the kernel side has to get right, with both
// ends of each connection in this process and memory in between. Says on standard output, one line a
// connection end, what went through: `end SSL_POINTER PID WRITTEN WRITE_SEED READ READ_SEED`.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGEST (8u << 20)

struct end {
    SSL *ssl;
    uint64_t written, write_seed, read, read_seed;
};
struct pair {
    struct end client, server;
};

static SSL_CTX *client_context, *server_context;
static long retries;

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "failed: %s\n", what);
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

// The byte at a position of a stream; the Rust side has the same.
static unsigned char pattern(uint64_t seed, uint64_t position) {
    return (unsigned char)((position + seed) * 2654435761u >> 13);
}

static void make_contexts(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    check(key && certificate, "key");
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    check(X509_sign(certificate, key, EVP_sha256()) > 0, "certificate");
    client_context = SSL_CTX_new(TLS_client_method());
    server_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_num_tickets(server_context, 0);
    check(SSL_CTX_use_certificate(server_context, certificate) == 1, "use certificate");
    check(SSL_CTX_use_PrivateKey(server_context, key) == 1, "use key");
}

static struct pair new_pair(size_t buffer, uint64_t seed) {
    BIO *a, *b;
    check(BIO_new_bio_pair(&a, buffer, &b, buffer) == 1, "bio pair");
    struct pair pair = {
        .client = {SSL_new(client_context), 0, seed, 0, seed + 1},
        .server = {SSL_new(server_context), 0, seed + 1, 0, seed},
    };
    SSL_set_bio(pair.client.ssl, a, a);
    SSL_set_bio(pair.server.ssl, b, b);
    SSL_set_connect_state(pair.client.ssl);
    SSL_set_accept_state(pair.server.ssl);
    return pair;
}

static struct pair make_pair(size_t buffer, uint64_t seed) {
    struct pair pair = new_pair(buffer, seed);
    for (int i = 0; i < 100 && !(SSL_is_init_finished(pair.client.ssl) && SSL_is_init_finished(pair.server.ssl)); i++) {
        SSL_do_handshake(pair.client.ssl);
        SSL_do_handshake(pair.server.ssl);
    }
    check(SSL_is_init_finished(pair.client.ssl) && SSL_is_init_finished(pair.server.ssl), "handshake");
    return pair;
}

// Counts from here, as who sees the stream from here does.
static void start_over(struct end *end) {
    end->write_seed += end->written;
    end->read_seed += end->read;
    end->written = end->read = 0;
}

static void say(const struct end *end) {
    printf("end %p %d %lu %lu %lu %lu\n", (void *)end->ssl, getpid(), end->written, end->write_seed, end->read,
           end->read_seed);
    fflush(stdout);
}

static void close_pair(struct pair *pair) {
    say(&pair->client);
    say(&pair->server);
    SSL_free(pair->client.ssl);
    SSL_free(pair->server.ssl);
}

// Reads what is there.
static void take(struct end *from, int ex) {
    static __thread unsigned char buffer[100000];
    for (;;) {
        size_t n = 0;
        int result;
        if (ex) {
            result = SSL_read_ex(from->ssl, buffer, sizeof buffer, &n);
        } else {
            result = SSL_read(from->ssl, buffer, sizeof buffer);
            n = result > 0 ? (size_t)result : 0;
        }
        if (result <= 0)
            return;
        for (size_t i = 0; i < n; i++)
            check(buffer[i] == pattern(from->read_seed, from->read + i), "pattern");
        from->read += n;
    }
}

// Writes `length` bytes in one call, or in as many retries of it as it takes while the peer reads.
static void give(struct end *from, struct end *to, size_t length, int ex) {
    unsigned char *buffer = malloc(length);
    for (size_t i = 0; i < length; i++)
        buffer[i] = pattern(from->write_seed, from->written + i);
    size_t sent = 0;
    while (sent < length) {
        size_t n = 0;
        int result;
        if (ex) {
            result = SSL_write_ex(from->ssl, buffer + sent, length - sent, &n);
        } else {
            result = SSL_write(from->ssl, buffer + sent, (int)(length - sent));
            n = result > 0 ? (size_t)result : 0;
        }
        if (result > 0) {
            sent += n;
            from->written += n;
        } else {
            check(SSL_get_error(from->ssl, result) == SSL_ERROR_WANT_WRITE, "write");
            retries++;
            take(to, ex);
        }
    }
    take(to, ex);
    free(buffer);
}

static void *one_thread(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    struct pair pair = make_pair(1 << 20, seed * 100);
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 400; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        give(&pair.client, &pair.server, 1 + random % 20000, i & 1);
        give(&pair.server, &pair.client, 1 + random / 20000 % 3000, i & 2);
    }
    close_pair(&pair);
    return NULL;
}

static jmp_buf away;
static struct pair *inner;
static int armed;

static long jump_away(BIO *bio, int operation, const char *p, size_t l, int i, long j, int result, size_t *done) {
    (void)bio, (void)p, (void)l, (void)i, (void)j, (void)done;
    if (armed && operation == BIO_CB_WRITE)
        longjmp(away, 1);
    return result;
}

static long write_inner(BIO *bio, int operation, const char *p, size_t l, int i, long j, int result, size_t *done) {
    (void)bio, (void)p, (void)l, (void)i, (void)j, (void)done;
    if (armed && operation == BIO_CB_WRITE) {
        armed = 0;
        give(&inner->client, &inner->server, 1000, 0);
    }
    return result;
}

static void write_at_the_end(const SSL *ssl, int where, int result) {
    (void)ssl, (void)result;
    if (armed && where & SSL_CB_HANDSHAKE_DONE) {
        unsigned char buffer[1000];
        for (size_t i = 0; i < sizeof buffer; i++)
            buffer[i] = pattern(inner->client.write_seed, i);
        armed = 0;
        check(SSL_write(inner->client.ssl, buffer, sizeof buffer) == sizeof buffer, "write in a callback");
        inner->client.written = sizeof buffer;
    }
}

static void await_line(void) {
    char line[16];
    check(fgets(line, sizeof line, stdin) != NULL, "standard input");
}

int main(int argc, char **argv) {
    const char *scenario = argc > 1 ? argv[1] : "";
    size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    int ex = argc > 3 && strcmp(argv[3], "ex") == 0;
    make_contexts();
    if (!strcmp(scenario, "exchange")) {
        struct pair pair = make_pair(LARGEST, 10);
        give(&pair.client, &pair.server, size, ex);
        give(&pair.server, &pair.client, size, ex);
        close_pair(&pair);
    } else if (!strcmp(scenario, "steps")) { // One write at each line of standard input.
        struct pair pair = make_pair(LARGEST, 20);
        for (int i = 0; i < 3; i++) {
            give(&pair.client, &pair.server, size, ex);
            say(&pair.client);
            await_line();
        }
        close_pair(&pair);
    } else if (!strcmp(scenario, "retry")) { // Room for little, so that a write takes many calls.
        struct pair pair = make_pair(20000, 30);
        give(&pair.client, &pair.server, size, ex);
        printf("retries %ld\n", retries);
        close_pair(&pair);
        SSL_CTX_set_mode(client_context, SSL_MODE_ENABLE_PARTIAL_WRITE);
        pair = make_pair(20000, 40);
        retries = 0;
        give(&pair.client, &pair.server, size, ex);
        printf("retries %ld\n", retries);
        close_pair(&pair);
    } else if (!strcmp(scenario, "fork")) { // The same pointers in two processes.
        struct pair pair = make_pair(LARGEST, 50);
        give(&pair.client, &pair.server, size, ex);
        pid_t child = fork();
        check(child >= 0, "fork");
        if (child == 0) {
            start_over(&pair.client);
            start_over(&pair.server);
        }
        give(&pair.client, &pair.server, child == 0 ? 2 * size : size, ex);
        close_pair(&pair);
        if (child == 0)
            return 0;
        waitpid(child, NULL, 0);
    } else if (!strcmp(scenario, "reuse")) { // One connection after the other.
        for (int i = 0; i < 20; i++) {
            struct pair pair = make_pair(LARGEST, 60);
            give(&pair.client, &pair.server, size, ex);
            close_pair(&pair);
        }
    } else if (!strcmp(scenario, "threads")) {
        pthread_t threads[12];
        for (uintptr_t i = 0; i < 12; i++)
            check(pthread_create(&threads[i], NULL, one_thread, (void *)(i + 1)) == 0, "thread");
        for (int i = 0; i < 12; i++)
            pthread_join(threads[i], NULL);
    } else if (!strcmp(scenario, "longjmp")) { // Leaves a call without returning from it.
        struct pair left = make_pair(LARGEST, 70), pair = make_pair(LARGEST, 80);
        give(&left.client, &left.server, size, ex);
        BIO_set_callback_ex(SSL_get_wbio(left.client.ssl), jump_away);
        armed = 1;
        if (setjmp(away) == 0)
            give(&left.client, &left.server, size, ex);
        armed = 0;
        give(&pair.client, &pair.server, size, ex);
        close_pair(&pair);
        printf("left %p\n", (void *)left.client.ssl);
    } else if (!strcmp(scenario, "inside")) { // A write on one connection within a write on another.
        struct pair outer = make_pair(LARGEST, 90), within = make_pair(LARGEST, 100);
        inner = &within;
        give(&within.client, &within.server, size, ex);
        BIO_set_callback_ex(SSL_get_wbio(outer.client.ssl), write_inner);
        armed = 1;
        give(&outer.client, &outer.server, size, ex);
        close_pair(&outer);
        close_pair(&within);
    } else if (!strcmp(scenario, "handshake")) { // A write from the end of a handshake that a read runs, as Node does.
        struct pair pair = new_pair(LARGEST, 110);
        inner = &pair;
        SSL_set_info_callback(pair.client.ssl, write_at_the_end);
        armed = 1;
        for (int i = 0; i < 4; i++) {
            take(&pair.client, ex);
            take(&pair.server, ex);
        }
        check(pair.server.read == 1000, "handshake");
        give(&pair.server, &pair.client, size, ex);
        give(&pair.client, &pair.server, size, ex);
        close_pair(&pair);
    } else {
        fprintf(stderr, "unknown scenario\n");
        return 2;
    }
    return 0;
}

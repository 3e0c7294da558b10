/* Two functions that a locator might take for those of a TLS library, moving what the first argument says:
   "http", or "noise". One connection for each line of input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char moved;

__attribute__((noinline)) int guess_write(void *connection, const void *buffer, int length)
{
    moved ^= *(const unsigned char *)buffer ^ (unsigned char)(size_t)connection;
    return length;
}

__attribute__((noinline)) int guess_read(void *connection, void *buffer, int length)
{
    moved ^= *(unsigned char *)buffer ^ (unsigned char)((size_t)connection >> 8);
    return length;
}

int main(int argc, char **argv)
{
    char line[16], bytes[512];
    int noise = argc > 1 && strcmp(argv[1], "noise") == 0;
    size_t connection = 0x1000;

    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        connection += 16;
        for (int direction = 0; direction < 2; direction++) {
            const char *text = direction ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                         : "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            int length = noise ? (int)sizeof bytes : (int)strlen(text);
            if (noise)
                for (size_t i = 0; i < sizeof bytes; i++)
                    bytes[i] = (char)(rand() >> 11);
            else
                memcpy(bytes, text, (size_t)length);
            if (direction)
                guess_read((void *)connection, bytes, length);
            else
                guess_write((void *)connection, bytes, length);
        }
        puts("done");
        fflush(stdout);
    }
    return moved == 0;
}

/* A load generator that costs little beside the server it measures: HTTP/1.1, keep-alive, one request per connection
 * at a time, requests made beforehand.
 *
 *   load <port> <connections> <seconds> <requests file> <order file>
 *
 * requests file: for each request a 32-bit length and its bytes. order file: 32-bit numbers of requests, sent in turn
 * by whichever connection is free, over and over. Prints one JSON object; latencies in milliseconds. A status other than
 * 200 counts as an error, and so does a connection that is closed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 65536 };

typedef struct {
    int socket;
    double sent_at;
    size_t have;
    const char *rest;
    size_t rest_bytes;
    char answer[ANSWER_BYTES];
} Connection;

static int epoll;
static uint16_t port;
static char **requests;
static uint32_t *lengths, *order;
static size_t order_count, cursor;
static float *latencies;
static size_t answered, room, errors, not_ready;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static char *whole_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    *size = ftell(file);
    rewind(file);
    char *content = malloc(*size + 1);
    if (!content || fread(content, 1, *size, file) != *size) fail(path);
    fclose(file);
    return content;
}

static void watch(Connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, operation, connection->socket, &event)) fail("epoll_ctl");
}

static void flush_request(Connection *connection) {
    while (connection->rest_bytes) {
        ssize_t sent = send(connection->socket, connection->rest, connection->rest_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EAGAIN) watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        connection->rest += sent;
        connection->rest_bytes -= sent;
    }
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void ask(Connection *connection) {
    uint32_t number = order[cursor++ % order_count];
    connection->rest = requests[number];
    connection->rest_bytes = lengths[number];
    connection->have = 0;
    connection->sent_at = now();
    flush_request(connection);
}

static void open_connection(Connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(connection, EPOLL_CTL_ADD, EPOLLIN);
    ask(connection);
}

/* Whether the whole answer is there. */
static int complete(Connection *connection) {
    connection->answer[connection->have] = 0;
    char *end = strstr(connection->answer, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (!length || length > end) fail("an answer without Content-Length");
    return connection->have >= (size_t)(end + 4 - connection->answer) + strtoul(length + 17, NULL, 10);
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "usage: %s port connections seconds requests order\n", words[0]);
        return 2;
    }
    port = atoi(words[1]);
    int connections = atoi(words[2]);
    double seconds = atof(words[3]);
    size_t size, at = 0, number = 0, allocated = 1024;
    char *content = whole_file(words[4], &size);
    requests = malloc(allocated * sizeof *requests);
    lengths = malloc(allocated * sizeof *lengths);
    while (at + 4 <= size) {
        if (number == allocated) {
            allocated *= 2;
            requests = realloc(requests, allocated * sizeof *requests);
            lengths = realloc(lengths, allocated * sizeof *lengths);
        }
        memcpy(&lengths[number], content + at, 4);
        requests[number] = content + at + 4;
        at += 4 + lengths[number++];
    }
    order = (uint32_t *)whole_file(words[5], &size);
    order_count = size / 4;
    room = 1 << 20;
    latencies = malloc(room * sizeof *latencies);
    epoll = epoll_create1(0);
    Connection *all = calloc(connections, sizeof *all);
    double began = now(), end = began + seconds;
    for (int each = 0; each < connections; each++) open_connection(&all[each]);
    struct epoll_event events[256];
    while (now() < end) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int each = 0; each < ready; each++) {
            Connection *connection = events[each].data.ptr;
            if (events[each].events & EPOLLOUT) flush_request(connection);
            if (!(events[each].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t got = recv(connection->socket, connection->answer + connection->have,
                               ANSWER_BYTES - 1 - connection->have, 0);
            if (got <= 0) {
                errors++;
                close(connection->socket);
                open_connection(connection);
                continue;
            }
            connection->have += got;
            if (!complete(connection)) continue;
            if (answered == room) latencies = realloc(latencies, (room *= 2) * sizeof *latencies);
            latencies[answered++] = (now() - connection->sent_at) * 1e3;
            if (memcmp(connection->answer + 9, "200", 3)) {
                errors++;
                not_ready += !memcmp(connection->answer + 9, "503", 3);
            }
            ask(connection);
        }
    }
    double took = now() - began;
    qsort(latencies, answered, sizeof *latencies, by_size);
    if (!answered) latencies[answered++] = 0;
    printf("{\"requests\": %zu, \"errors\": %zu, \"status_503\": %zu, \"seconds\": %.3f, \"per_second\": %.1f, "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f}\n",
           answered, errors, not_ready, took, answered / took, latencies[answered / 2],
           latencies[(size_t)(answered * 0.99)], latencies[answered - 1]);
    return 0;
}

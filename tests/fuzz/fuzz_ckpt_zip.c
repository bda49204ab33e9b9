/* covers: src/ckpt/zip.c */
/* dictionary: pickle.dict */
/*
 * Torch's zip container around a pickle: entries stored or deflated, zip64 or not, a byte order, a
 * comment; then single bytes of the archive's end are changed. Input: a byte of switches, a byte
 * that says how many changes follow, the changes (distance from the end, new value: three bytes),
 * and the pickle.
 */
#include <zlib.h>

#include "ckpt_fuzz.h"

enum {
    DEFLATED = 1,   /* the entries */
    ZIP64 = 2,      /* sizes and offsets of the entries in extra fields */
    ZIP64_END = 4,  /* the directory's place in a zip64 record */
    BIG_ENDIAN_ENTRY = 8,
    LITTLE_ENDIAN_ENTRY = 16,
    COMMENT = 32,
    DAMAGED_STREAM = 64, /* the last byte of each packed entry is changed */
    NO_PREFIX = 128      /* a comment of another length, too */
};

typedef struct writer {
    uint8_t *bytes;
    size_t n;
    unsigned switches;
} writer;

static void put_le(writer *w, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) w->bytes[w->n++] = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
}

static void put_bytes(writer *w, const void *bytes, size_t n)
{
    if (n > 0) memcpy(w->bytes + w->n, bytes, n);
    w->n += n;
}

typedef struct member {
    char name[32];
    const uint8_t *data;
    size_t n, stored, at;
} member;

static size_t deflate_into(uint8_t *out, size_t room, const uint8_t *data, size_t n)
{
    z_stream s = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)n, .next_out = out,
                  .avail_out = (uInt)room};
    if (deflateInit2(&s, 1, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    if (deflate(&s, Z_FINISH) != Z_STREAM_END) abort();
    deflateEnd(&s);
    return room - s.avail_out;
}

static void put_member(writer *w, member *m)
{
    size_t room = m->n + m->n / 8 + 64, method = w->switches & DEFLATED ? 8 : 0;
    m->at = w->n;
    put_le(w, 0x04034b50, 4);
    put_le(w, 20, 4);
    put_le(w, method, 2);
    put_le(w, 0, 16); /* time, checksum and sizes: the directory's count */
    put_le(w, strlen(m->name), 4);
    put_bytes(w, m->name, strlen(m->name));
    m->stored = m->n;
    if (method) {
        m->stored = deflate_into(w->bytes + w->n, room, m->data, m->n);
        w->n += m->stored;
        if (w->switches & DAMAGED_STREAM) w->bytes[w->n - 1] ^= 0x55;
    } else {
        put_bytes(w, m->data, m->n);
    }
}

static void put_central(writer *w, const member *m)
{
    bool big = w->switches & ZIP64;
    put_le(w, 0x02014b50, 4);
    put_le(w, 0, 6);
    put_le(w, w->switches & DEFLATED ? 8 : 0, 2);
    put_le(w, 0, 8);
    put_le(w, big ? UINT32_MAX : m->stored, 4);
    put_le(w, big ? UINT32_MAX : m->n, 4);
    put_le(w, strlen(m->name), 2);
    put_le(w, big ? 4 + 4 + 24 + 4 : 0, 12); /* extra field's length, then nothing */
    put_le(w, big ? UINT32_MAX : m->at, 4);
    put_bytes(w, m->name, strlen(m->name));
    if (!big) return;
    put_le(w, 0x7777, 2); /* somebody else's field comes first */
    put_le(w, 4, 2);
    put_le(w, 0, 4);
    put_le(w, 1, 2);
    put_le(w, 24, 2);
    put_le(w, m->n, 8);
    put_le(w, m->stored, 8);
    put_le(w, m->at, 8);
}

static void put_end(writer *w, size_t directory, size_t n)
{
    size_t bytes = w->n - directory, end64 = w->n;
    bool big = w->switches & ZIP64_END;
    if (big) {
        put_le(w, 0x06064b50, 4);
        put_le(w, 44, 8);
        put_le(w, 0, 12);
        put_le(w, n, 8);
        put_le(w, n, 8);
        put_le(w, bytes, 8);
        put_le(w, directory, 8);
        put_le(w, 0x07064b50, 4);
        put_le(w, 0, 4);
        put_le(w, end64, 8);
        put_le(w, 1, 4);
    }
    size_t comment = w->switches & COMMENT ? 9 : w->switches & NO_PREFIX ? 1 : 0;
    put_le(w, 0x06054b50, 4);
    put_le(w, 0, 4);
    put_le(w, big ? UINT16_MAX : n, 2);
    put_le(w, big ? UINT16_MAX : n, 2);
    put_le(w, big ? UINT32_MAX : bytes, 4);
    put_le(w, big ? UINT32_MAX : directory, 4);
    put_le(w, comment, 2);
    put_bytes(w, "a comment", comment);
}

static void put_archive(writer *w, const uint8_t *pickle, size_t n)
{
    static const uint8_t storage[64] = {0, 0, 0x80, 0x3f};
    const char *prefix = w->switches & NO_PREFIX ? "" : "archive/";
    const char *order = w->switches & BIG_ENDIAN_ENTRY ? "big" : "little";
    member members[3] = {{.data = pickle, .n = n},
                         {.data = storage, .n = sizeof storage},
                         {.data = (const uint8_t *)order, .n = strlen(order)}};
    static const char *const names[] = {"data.pkl", "data/0", "byteorder"};
    size_t n_members = w->switches & (BIG_ENDIAN_ENTRY | LITTLE_ENDIAN_ENTRY) ? 3 : 2;
    for (size_t i = 0; i < n_members; i++) {
        snprintf(members[i].name, sizeof members[i].name, "%s%s", prefix, names[i]);
        put_member(w, &members[i]);
    }
    size_t directory = w->n;
    for (size_t i = 0; i < n_members; i++) put_central(w, &members[i]);
    put_end(w, directory, n_members);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2) return 0;
    writer w = {.switches = data[0]};
    size_t n_changes = data[1] % 8;
    const uint8_t *changes = data + 2;
    if (n < 2 + 3 * n_changes) return 0;
    size_t n_pickle = n - 2 - 3 * n_changes;
    w.bytes = malloc(n_pickle + n_pickle / 8 + 4096);
    put_archive(&w, changes + 3 * n_changes, n_pickle);
    for (size_t i = 0; i < n_changes; i++) {
        size_t back = (size_t)changes[3 * i] + 256u * (changes[3 * i + 1] % 4) + 1;
        if (back <= w.n) w.bytes[w.n - back] = changes[3 * i + 2];
    }
    uint8_t *exact = malloc(w.n); /* the sanitizer sees the first byte behind the end */
    memcpy(exact, w.bytes, w.n);
    free(w.bytes);
    fuzz_open(exact, w.n);
    free(exact);
    return 0;
}

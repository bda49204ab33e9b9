/* covers: src/ckpt/pickle.c src/ckpt/torch.c src/ckpt/paddle.c */
/* dictionary: pickle.dict */
/*
 * Pickles of state dicts. The first byte chooses what surrounds the rest: torch's legacy layout
 * (the rest is the object, the list of storages and the data), torch's zip (the rest is data.pkl,
 * with one storage of 64 bytes), or nothing, which is Paddle's layout.
 */
#include "ckpt_fuzz.h"

static const char legacy_head[] =
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

static void put_le(uint8_t **p, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) *(*p)++ = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
}

static void put_bytes(uint8_t **p, const void *bytes, size_t n)
{
    if (n > 0) memcpy(*p, bytes, n);
    *p += n;
}

/* Two stored entries, a/data.pkl and a/data/0; returns the size. */
static size_t make_zip(uint8_t *out, const uint8_t *pickle, size_t n)
{
    static const uint8_t storage[64];
    const struct { const char *name; const uint8_t *data; size_t n; } entries[] = {
        {"a/data.pkl", pickle, n}, {"a/data/0", storage, sizeof storage}};
    uint8_t *p = out;
    size_t offsets[2];
    for (int i = 0; i < 2; i++) {
        offsets[i] = (size_t)(p - out);
        put_le(&p, 0x04034b50, 4);
        put_le(&p, 0, 14);
        put_le(&p, entries[i].n, 4);
        put_le(&p, entries[i].n, 4);
        put_le(&p, strlen(entries[i].name), 4);
        put_bytes(&p, entries[i].name, strlen(entries[i].name));
        put_bytes(&p, entries[i].data, entries[i].n);
    }
    uint8_t *directory = p;
    for (int i = 0; i < 2; i++) {
        put_le(&p, 0x02014b50, 4);
        put_le(&p, 0, 16);
        put_le(&p, entries[i].n, 4);
        put_le(&p, entries[i].n, 4);
        put_le(&p, strlen(entries[i].name), 14);
        put_le(&p, offsets[i], 4);
        put_bytes(&p, entries[i].name, strlen(entries[i].name));
    }
    size_t directory_bytes = (size_t)(p - directory);
    put_le(&p, 0x06054b50, 4);
    put_le(&p, 0, 4);
    put_le(&p, 2, 2);
    put_le(&p, 2, 2);
    put_le(&p, directory_bytes, 4);
    put_le(&p, (uint64_t)(directory - out), 4);
    put_le(&p, 0, 2);
    return (size_t)(p - out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    uint8_t layout = data[0] % 3;
    uint8_t *bytes = malloc(n + 512), *p = bytes;
    size_t size = n - 1;
    if (layout == 0) put_bytes(&p, legacy_head, sizeof legacy_head - 1);
    if (layout == 2) size = make_zip(bytes, data + 1, n - 1);
    else put_bytes(&p, data + 1, n - 1);
    if (layout == 0) size += sizeof legacy_head - 1;
    /* An exact copy, so that the sanitizer sees the first byte behind the end. */
    uint8_t *exact = malloc(size);
    memcpy(exact, bytes, size);
    free(bytes);
    fuzz_open(exact, size);
    free(exact);
    return 0;
}

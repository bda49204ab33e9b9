/*
 * Zip directories, from the end: [entries...] [central directory] [zip64 end, locator] [end].
 * Sizes and offsets of ~0 in the 32-bit fields are found in a zip64 extra field instead.
 */
#include "ckpt/zip.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

#define END_BYTES 22
#define LOCATOR_BYTES 20
#define END64_BYTES 56
#define CENTRAL_BYTES 46
#define LOCAL_BYTES 30
#define COMMENT_BYTES_MAX 65535
#define DEFLATE_RATIO_MAX 1032 /* deflate cannot expand more: a larger claim is a lie */

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t u64_at(const uint8_t *p) { return u32_at(p) | (uint64_t)u32_at(p + 4) << 32; }

typedef struct directory { uint64_t at, bytes, n_entries; } directory;

static cloze_status find_directory(const ckpt_file *f, directory *dir, cloze_error *err)
{
    const uint8_t *data = f->map.data;
    size_t size = f->map.size, end = 0;
    size_t lowest = size > END_BYTES + COMMENT_BYTES_MAX ? size - END_BYTES - COMMENT_BYTES_MAX : 0;
    for (size_t at = size < END_BYTES ? 0 : size - END_BYTES + 1; at > lowest && !end; at--) {
        /* The comment must reach to the end: else this is data that looks like a signature. */
        if (u32_at(data + at - 1) == 0x06054b50 &&
            at - 1 + END_BYTES + u16_at(data + at - 1 + 20) == size)
            end = at;
    }
    if (!end)
        CLOZE_FAIL(err, MODEL, "%s: no zip directory at its end: the file is cut short", f->path);
    const uint8_t *e = data + --end;
    *dir = (directory){u32_at(e + 16), u32_at(e + 12), u16_at(e + 10)};
    if (end >= LOCATOR_BYTES && u32_at(e - LOCATOR_BYTES) == 0x07064b50) {
        uint64_t at64 = u64_at(e - LOCATOR_BYTES + 8);
        if (at64 > end || end - at64 < END64_BYTES || u32_at(data + at64) != 0x06064b50)
            CLOZE_FAIL(err, MODEL, "%s: the zip64 directory is not where the file says", f->path);
        const uint8_t *e64 = data + at64;
        *dir = (directory){u64_at(e64 + 48), u64_at(e64 + 40), u64_at(e64 + 32)};
    }
    if (dir->at > end || dir->bytes > end - dir->at || dir->n_entries > dir->bytes / CENTRAL_BYTES)
        CLOZE_FAIL(err, MODEL, "%s: the zip directory lies outside the file", f->path);
    return CLOZE_OK;
}

/* Replaces the fields of e that are ~0 by those of the zip64 extra field, in its fixed order. */
static bool apply_zip64(zip_entry *e, const uint8_t *extra, size_t n)
{
    while (n >= 4) {
        size_t len = u16_at(extra + 2);
        if (len > n - 4) return false;
        if (u16_at(extra) == 1) {
            const uint8_t *p = extra + 4, *stop = p + len;
            uint64_t *fields[] = {&e->bytes, &e->stored_bytes, &e->header_at};
            for (int i = 0; i < 3; i++) {
                if (*fields[i] != UINT32_MAX) continue;
                if (stop - p < 8) return false;
                *fields[i] = u64_at(p);
                p += 8;
            }
            return true;
        }
        extra += 4 + len;
        n -= 4 + len;
    }
    return true;
}

/* One record of the central directory; *used is its size. */
static cloze_status read_central(const ckpt_file *f, const uint8_t *p, uint64_t left, zip_entry *e,
                                 uint64_t *used, cloze_error *err)
{
    if (left < CENTRAL_BYTES || u32_at(p) != 0x02014b50)
        CLOZE_FAIL(err, MODEL, "%s: the zip directory is damaged", f->path);
    size_t name_len = u16_at(p + 28), extra_len = u16_at(p + 30);
    *used = CENTRAL_BYTES + name_len + extra_len + u16_at(p + 32);
    if (*used > left) CLOZE_FAIL(err, MODEL, "%s: the zip directory is damaged", f->path);
    *e = (zip_entry){.name = (const char *)p + CENTRAL_BYTES, .name_len = name_len,
                     .method = u16_at(p + 10), .stored_bytes = u32_at(p + 20),
                     .bytes = u32_at(p + 24), .header_at = u32_at(p + 42)};
    char shown[96];
    ckpt_printable(e->name, name_len, shown, sizeof shown);
    if (!apply_zip64(e, p + CENTRAL_BYTES + name_len, extra_len))
        CLOZE_FAIL(err, MODEL, "%s: zip entry '%s': the zip64 sizes are damaged", f->path, shown);
    if ((u16_at(p + 8) & 1) || (e->method != 0 && e->method != 8))
        CLOZE_FAIL(err, MODEL,
                   "%s: zip entry '%s' is encrypted or packed by method %u; torch stores plainly",
                   f->path, shown, e->method);
    if (e->method == 0 && e->bytes != e->stored_bytes)
        CLOZE_FAIL(err, MODEL, "%s: zip entry '%s' is stored, but its two sizes differ", f->path,
                   shown);
    if (e->method == 8 && e->bytes / DEFLATE_RATIO_MAX > e->stored_bytes)
        CLOZE_FAIL(err, MODEL, "%s: zip entry '%s' claims to expand more than deflate can", f->path,
                   shown);
    return CLOZE_OK;
}

cloze_status zip_init(zip_archive *z, ckpt *c, const ckpt_file *f, cloze_error *err)
{
    *z = (zip_archive){.ckpt = c, .file = f};
    directory dir;
    CLOZE_TRY(find_directory(f, &dir, err));
    if (dir.n_entries > INT32_MAX) CLOZE_FAIL(err, MODEL, "%s: too many zip entries", f->path);
    MEM_NEW(err, z->entries, dir.n_entries);
    CLOZE_TRY(hash_map_init(&z->index, (size_t)dir.n_entries, err));
    for (uint64_t i = 0, at = 0, used; i < dir.n_entries; i++, at += used) {
        zip_entry *e = &z->entries[i];
        CLOZE_TRY(read_central(f, f->map.data + dir.at + at, dir.bytes - at, e, &used, err));
        z->n_entries++;
        if (zip_find(z, e->name, e->name_len)) {
            char shown[96];
            CLOZE_FAIL(err, MODEL, "%s: zip entry '%s' is there twice", f->path,
                       ckpt_printable(e->name, e->name_len, shown, sizeof shown));
        }
        CLOZE_TRY(hash_map_put(&z->index, e->name, e->name_len, (int32_t)i, err));
    }
    return CLOZE_OK;
}

void zip_deinit(zip_archive *z)
{
    hash_map_deinit(&z->index);
    mem_free(z->entries);
}

zip_entry *zip_find(const zip_archive *z, const char *name, size_t name_len)
{
    int32_t i = hash_map_get(&z->index, name, name_len, -1);
    return i < 0 ? NULL : &z->entries[i];
}

static bool inflate_all(z_stream *s, const uint8_t *src, uint64_t src_bytes, uint8_t *dst,
                        uint64_t dst_bytes)
{
    int code = Z_OK;
    s->next_in = (Bytef *)(uintptr_t)src; /* zlib only reads it */
    s->next_out = dst;
    while (code == Z_OK) { /* zlib counts in 32 bits, so large entries go in pieces */
        uint64_t in_left = src_bytes - (uint64_t)(s->next_in - src);
        uint64_t out_left = dst_bytes - (uint64_t)(s->next_out - dst);
        s->avail_in = in_left > UINT_MAX ? UINT_MAX : (uInt)in_left;
        s->avail_out = out_left > UINT_MAX ? UINT_MAX : (uInt)out_left;
        code = inflate(s, Z_NO_FLUSH);
    }
    return code == Z_STREAM_END && (uint64_t)(s->next_out - dst) == dst_bytes;
}

static cloze_status inflate_entry(zip_archive *z, zip_entry *e, cloze_error *err)
{
    void *block;
    /* Entries that share their bytes make an archive of megabytes inflate to terabytes. */
    z->inflated_bytes += e->stored_bytes;
    if (z->inflated_bytes > z->file->map.size)
        CLOZE_FAIL(err, MODEL, "%s: zip entries overlap: the file is damaged", z->file->path);
    CLOZE_TRY(ckpt_alloc_owned(z->ckpt, (size_t)e->bytes, &block, err));
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) CLOZE_FAIL(err, MEMORY, "out of memory (zlib)");
    bool ok = inflate_all(&stream, e->data, e->stored_bytes, block, e->bytes);
    inflateEnd(&stream);
    char shown[96];
    if (!ok)
        CLOZE_FAIL(err, MODEL, "%s: zip entry '%s': the packed data is damaged", z->file->path,
                   ckpt_printable(e->name, e->name_len, shown, sizeof shown));
    e->data = block;
    e->inflated = true;
    return CLOZE_OK;
}

cloze_status zip_read(zip_archive *z, zip_entry *e, cloze_error *err)
{
    if (e->located) return CLOZE_OK;
    const file_map *map = &z->file->map;
    char shown[96];
    ckpt_printable(e->name, e->name_len, shown, sizeof shown);
    if (e->header_at > map->size || map->size - e->header_at < LOCAL_BYTES ||
        u32_at(map->data + e->header_at) != 0x04034b50)
        CLOZE_FAIL(err, MODEL, "%s: zip entry '%s' is not where the directory says", z->file->path,
                   shown);
    const uint8_t *local = map->data + e->header_at;
    uint64_t at = e->header_at + LOCAL_BYTES + u16_at(local + 26) + u16_at(local + 28);
    if (at > map->size || e->stored_bytes > map->size - at)
        CLOZE_FAIL(err, MODEL,
                   "%s: zip entry '%s' of %llu bytes reaches beyond the file: it is cut short",
                   z->file->path, shown, (unsigned long long)e->stored_bytes);
    e->data = map->data + at;
    if (e->method == 8) CLOZE_TRY(inflate_entry(z, e, err));
    e->located = true;
    return CLOZE_OK;
}

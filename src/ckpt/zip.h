/*
 * Reading of zip archives that lie in memory: torch's container. Stored entries are given in place,
 * deflated ones are inflated once into memory of the checkpoint. zip64 is understood; encryption,
 * spanning and other methods are refused. Every offset is checked against the archive's size.
 */
#ifndef CLOZE_CKPT_ZIP_H
#define CLOZE_CKPT_ZIP_H

#include "ckpt/ckpt_internal.h"

typedef struct zip_entry {
    const char *name; /* name_len bytes in the archive */
    size_t name_len;
    const uint8_t *data; /* bytes as stored; inflated ones after zip_read */
    uint64_t stored_bytes, bytes;
    uint64_t header_at; /* of the local header */
    uint16_t method;    /* 0 stored, 8 deflated */
    bool located;       /* data is valid */
    bool inflated;      /* data is in memory of the checkpoint */
    size_t swapped_size; /* element size by which the bytes were reversed; 0: as stored */
} zip_entry;

typedef struct zip_archive {
    ckpt *ckpt;
    const ckpt_file *file;
    zip_entry *entries; /* (n_entries) */
    size_t n_entries;
    hash_map index; /* name -> position in entries */
    uint64_t inflated_bytes; /* packed bytes that were inflated so far */
} zip_archive;

/* Reads the directory. End with zip_deinit, after a failure too; entries' data outlive it. */
cloze_status zip_init(zip_archive *z, ckpt *c, const ckpt_file *f, cloze_error *err);
void zip_deinit(zip_archive *z);
/* NULL: no entry of that name. */
zip_entry *zip_find(const zip_archive *z, const char *name, size_t name_len);
/* Makes e->data and e->bytes valid. */
cloze_status zip_read(zip_archive *z, zip_entry *e, cloze_error *err);

#endif

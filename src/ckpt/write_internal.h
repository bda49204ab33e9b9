/* What the writers share: checking of items, and streaming one item's bytes. */
#ifndef CLOZE_CKPT_WRITE_INTERNAL_H
#define CLOZE_CKPT_WRITE_INTERNAL_H

#include <stdio.h>

#include "ckpt/checkpoint_write.h"

/* Takes the next n bytes of an item; false stops the stream. */
typedef bool (*write_sink)(void *context, const void *bytes, size_t n);

/* Names unique and UTF-8, sizes without overflow: a violation is the caller's error (INTERNAL). */
cloze_status write_check_items(const char *path, const ckpt_item *items, size_t n_items,
                               cloze_error *err);
uint64_t write_item_count(const ckpt_item *item); /* elements */
uint64_t write_item_bytes(const ckpt_item *item); /* in the file */
/* Makes data of a source: *out is item, or item with data in *block (mem_free, NULL: none). */
cloze_status write_item_load(const ckpt_item *item, ckpt_item *out, void **block, cloze_error *err);
/* Feeds a loaded item's bytes, converted piece by piece where it is floats. */
bool write_item_stream(const ckpt_item *item, write_sink sink, void *context);
/* Loads the item and writes its bytes; a failed write shows in ferror. */
cloze_status write_item(const ckpt_item *item, FILE *stream, cloze_error *err);
bool write_sink_file(void *stream, const void *bytes, size_t n); /* context is a FILE */

#endif

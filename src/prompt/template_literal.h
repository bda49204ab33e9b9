/*
 * Values in templates, whether typed as Python literals or read from JSON, and how a key with its
 * value becomes part of a template_part: one table for both ways in.
 */
#ifndef CLOZE_PROMPT_TEMPLATE_LITERAL_H
#define CLOZE_PROMPT_TEMPLATE_LITERAL_H

#include "prompt/template.h"

typedef enum literal_kind {
    LITERAL_NONE,
    LITERAL_BOOL,
    LITERAL_INT,
    LITERAL_STRING,
    LITERAL_LIST
} literal_kind;

typedef struct literal {
    literal_kind kind;
    int64_t number;     /* LITERAL_INT; LITERAL_BOOL 0 or 1 */
    const char *text;   /* LITERAL_STRING */
    const char **items; /* (n_items) LITERAL_LIST: strings only */
    int32_t n_items;
} literal;

#define TEMPLATE_TYPED_PARTS (TEMPLATE_MAX_PARTS - 2) /* before completion */
#define TEMPLATE_MAX_LENGTH 65536 /* of length, hidden_size, position: far above any model's */

/* A part being put together. */
typedef struct part_builder {
    template_part part;
    bool has_keyword;
    uint32_t seen; /* bits of the keys given so far */
} part_builder;

void part_builder_init(part_builder *b);
/* Sets one key. On failure *reason is why, a static string or one in `message` (bytes). */
bool part_builder_set(part_builder *b, const char *key, const literal *value, char *message,
                      size_t message_bytes);
/* The finished part; false when it has no keyword. */
bool part_builder_finish(const part_builder *b, template_part *out);

/* Adds the text and mask parts that a template without text gets, and moves parts[0..n) into t. */
cloze_status template_complete(template_t *t, const template_part *parts, int32_t n,
                               cloze_status code, cloze_error *err);

#endif

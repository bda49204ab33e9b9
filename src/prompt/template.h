/*
 * The template language of PaddleNLP's prompts, without its evaluator:
 *
 *   template = { part | plain }
 *   part     = "{" literal { ":" value } { "," literal [":" value] } "}"     a Python dict or set
 *   plain    = text up to the next "{", stands for {'hard': text}; spaces before a part or before
 *              plain text mean add_space
 *   value    = 'string' | "string" | integer | None | True | False | [value, ...] | (value, ...)
 *
 * A template without a text part gets {'text': 'text_a'} before it, and {'mask'} after it unless it
 * has a mask. Every keyword and attribute is parsed and written back; template_check() says which
 * ones this program can run.
 */
#ifndef CLOZE_PROMPT_TEMPLATE_H
#define CLOZE_PROMPT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

typedef enum template_kind {
    TEMPLATE_TEXT,
    TEMPLATE_HARD,
    TEMPLATE_SOFT, /* soft and/or soft_id */
    TEMPLATE_PREFIX,
    TEMPLATE_MASK,
    TEMPLATE_SEP, /* also the kind of the last special token in spans */
    TEMPLATE_CLS, /* also the kind of the first special token in spans */
    TEMPLATE_OPTIONS
} template_kind;
const char *template_kind_name(template_kind kind); /* "text", "hard", ... */

typedef struct template_part {
    template_kind kind;
    const char *value; /* text: field name; hard: the words; soft, prefix: initial words; options:
                          field or file name. NULL = None */
    const char **options;   /* (n_options) when options is a list */
    const char *encoder;    /* NULL = not given */
    const char *add_prompt; /* NULL = not given */
    int32_t n_options;
    int32_t length;      /* 0 = not given */
    int32_t hidden_size; /* 0 = not given */
    int32_t position;    /* -1 = not given */
    int32_t token_type;  /* -1 = not given */
    int32_t truncate;    /* -1 = not given (text is cut, all else is not), 0, 1 */
    int32_t soft_id;     /* -1 = not given */
    bool encoder_given;  /* also 'encoder': None */
    bool add_omask, add_space;
} template_part;

#define TEMPLATE_MAX_PARTS 256 /* of a template_t, completion included */
#define TEMPLATE_MAX_MASKS 256 /* that a single mask part may be expanded to */

/* Zeroed storage is valid and empty. Immutable once parsed: any number of threads. */
typedef struct template_t {
    template_part *parts; /* (n_parts) at most TEMPLATE_MAX_PARTS */
    int32_t n_parts;
    arena memory;
} template_t;

/* From what a user types; NULL is PaddleNLP's default, {'soft'}{'text': 'text_a'}{'mask'}. Errors
 * are CLOZE_ERR_USAGE with the column and what was expected there.
 */
cloze_status template_parse(const char *text, template_t *out, cloze_error *err);
/* template_config.json: line 1 a JSON list of parts, line 2 {"class": ...} (older: line 1 only).
 * Errors are CLOZE_ERR_MODEL. */
cloze_status template_parse_config(const char *text, size_t n, const char *what, template_t *out,
                                   cloze_error *err);
cloze_status template_read(const char *path, template_t *out, cloze_error *err);
/* The same file, which PaddleNLP reads: the keyword of a part first, its attributes in fixed order.
 */
void template_write_config(const template_t *t, buf *out);
void template_deinit(template_t *t);

/* Refuses, with `code`, what cannot be run: parts that are not built yet, a template without a
 * mask, a mask that may be cut. */
cloze_status template_check(const template_t *t, cloze_status code, cloze_error *err);
/* Masks that the template itself fixes: the sum of its mask lengths, or 0 when it has exactly one
 * mask part without a length, whose number of masks is then the label word's own. */
int32_t template_fixed_masks(const template_t *t);
/* True when a part reads the field. */
bool template_uses_field(const template_t *t, const char *field);

#endif

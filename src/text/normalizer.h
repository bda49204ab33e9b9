/*
 * The general path's text: code points with the source code point that each comes from, and the
 * normalizers of tokenizer.json which rewrite it, in order. (Plain BERT and GPT-2 pipelines take
 * the one-pass scans instead; both ways give the same tokens.)
 */
#ifndef CLOZE_TEXT_NORMALIZER_H
#define CLOZE_TEXT_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/pattern.h"
#include "text/wordpiece.h"

/* A text being normalised; owned by one call. */
typedef struct norm_text {
    uint32_t *cp;    /* (n) code points */
    int32_t *source; /* (n) the number of the source code point of each */
    int32_t n, cap;
    int64_t limit; /* of n, about, while normalizers run; 0: none but memory */
} norm_text;

void norm_text_deinit(norm_text *t);
cloze_status norm_text_push(norm_text *t, uint32_t cp, int32_t source, cloze_error *err);
/* Replaces the content by the code points of text[0..n), numbered from base. */
cloze_status norm_text_set(norm_text *t, const char *text, size_t n, int32_t base,
                           cloze_error *err);

typedef enum normalizer_kind {
    NORMALIZER_BERT,
    NORMALIZER_DECOMPOSE, /* NFD; compat: NFKD */
    NORMALIZER_COMPOSE,   /* NFC; compat: NFKC */
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_STRIP,
    NORMALIZER_REPLACE,
    NORMALIZER_PREPEND,
} normalizer_kind;

typedef struct normalizer_step {
    normalizer_kind kind;
    bert_switches bert;
    bool follows_lower; /* BERT: strip_accents was null, so it goes with lowercase */
    bool compat;        /* DECOMPOSE, COMPOSE */
    bool left, right;   /* STRIP */
    pattern *match;     /* REPLACE; owned */
    char *text;         /* REPLACE: the new text; PREPEND; owned */
} normalizer_step;

typedef struct normalizer {
    normalizer_step *steps; /* (n) in order; owned */
    int32_t n;
} normalizer;

void normalizer_deinit(normalizer *z);
/* Appends a step, taking over what it owns (also on failure). */
cloze_status normalizer_add(normalizer *z, const normalizer_step *step, cloze_error *err);
cloze_status normalizer_apply(const normalizer *z, norm_text *t, cloze_error *err);

#endif

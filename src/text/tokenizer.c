/*
 * Encoding a text: added tokens are cut out first, then each stretch between them goes to a
 * one-pass scan or the general path; special tokens and truncation come around that.
 */
#include "text/tokenizer.h"

#include <omp.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/encoding.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

const char *const tokenizer_role_keys[ROLE_COUNT] = {
    "cls_token", "sep_token", "mask_token", "pad_token", "unk_token", "bos_token", "eos_token",
};

void tokenizer_destroy(tokenizer *tok) {
    if (!tok) return;
    vocab_deinit(&tok->vocab);
    added_search_deinit(&tok->raw_search);
    added_search_deinit(&tok->normalized_search);
    added_tokens_deinit(&tok->added);
    normalizer_deinit(&tok->normalizer);
    pretokenizer_deinit(&tok->pretokenizer);
    bert_scanner_deinit(&tok->bert);
    bpe_deinit(&tok->bpe);
    mem_free(tok->continuing_prefix);
    mem_free(tok->flags);
    for (int i = 0; i < ROLE_COUNT; i++) mem_free(tok->roles[i]);
    for (int i = 0; i < tok->n_files; i++) mem_free(tok->files[i].data);
    mem_free(tok->class_name);
    mem_free(tok);
}

/* Text without raw added tokens, after the normalized ones were cut out where that can be done
 * here. */
static cloze_status encode_stretch(const tokenizer *tok, const char *text, size_t n, int32_t base,
                                   encoding *out, cloze_error *err) {
    if (!n) return CLOZE_OK;
    if (!tok->one_pass) return encode_general(tok, text, n, base, out, err);
    if (tok->kind == TOKENIZER_BYTE_BPE) return encode_byte_level(tok, text, n, base, out, err);
    bool done = false;
    CLOZE_TRY(bert_scan(&tok->bert, text, n, base, out, &done, err));
    return done ? CLOZE_OK : encode_general(tok, text, n, base, out, err);
}

/* Appends an added token that was found at text[m->begin, m->end), code points [begin,end). Where
 * offsets are trimmed, the whitespace that lstrip and rstrip took is not part of them. */
static cloze_status append_added(const tokenizer *tok, const char *text, const added_match *m,
                                 int32_t begin, int32_t end, bool first, encoding *out,
                                 cloze_error *err) {
    if (tok->trim_offsets) {
        int32_t leading = utf8_length(text + m->begin, m->key - m->begin);
        bool keeps = tok->trim_keeps_prefix && (first || begin == 0) && leading == 1;
        if (!keeps) begin += leading;
        size_t key_end = m->key + m->token->len;
        end -= utf8_length(text + key_end, m->end - key_end);
    }
    return encoding_append(out, m->token->id, begin, end, err);
}

/* Valid UTF-8 in; tokens out. */
static cloze_status encode_valid(const tokenizer *tok, const char *text, size_t n, encoding *out,
                                 cloze_error *err) {
    size_t from = 0;
    int32_t base = 0, start = out->n;
    added_match m;
    while (added_search_next(&tok->raw_search, text, from, n, &m)) {
        CLOZE_TRY(encode_stretch(tok, text + from, m.begin - from, base, out, err));
        base += utf8_length(text + from, m.begin - from);
        int32_t len = utf8_length(text + m.begin, m.end - m.begin);
        CLOZE_TRY(append_added(tok, text, &m, base, base + len, out->n == start, out, err));
        base += len;
        from = m.end;
    }
    return encode_stretch(tok, text + from, n - from, base, out, err);
}

/* Any bytes: each one that is not part of valid UTF-8 becomes U+FFFD in a copy. */
static cloze_status encode_repaired(const tokenizer *tok, const char *text, size_t n, encoding *out,
                                    cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    uint8_t *copy = mem_alloc(n * 3);
    size_t len = 0;
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", n * 3);
    while (p < end) {
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        len += (size_t)unicode_put(cp, copy + len);
    }
    cloze_status status = encode_valid(tok, (const char *)copy, len, out, err);
    mem_free(copy);
    return status;
}

/* Tokens of a text, offsets not trimmed yet. */
static cloze_status encode_plain(const tokenizer *tok, const char *text, size_t n, encoding *out,
                                 cloze_error *err) {
    if (n > INT32_MAX / 4) CLOZE_FAIL(err, DATA, "the text is too long: %zu bytes", n);
    CLOZE_TRY(encoding_reserve(out, (int64_t)(n / 3 + 8), err));
    int32_t before = out->n;
    cloze_status status = utf8_valid_prefix(text, n) == n ? encode_valid(tok, text, n, out, err)
                                                          : encode_repaired(tok, text, n, out, err);
    if (status != CLOZE_OK) out->n = before;
    return status;
}

cloze_status tokenizer_encode_text(const tokenizer *tok, const char *text, size_t n, encoding *out,
                                   cloze_error *err) {
    int32_t begin = out->n;
    CLOZE_TRY(encode_plain(tok, text, n, out, err));
    trim_offsets(tok, out, begin);
    return CLOZE_OK;
}

/* How many tokens of each sequence stay, by the rules of Hugging Face's tokenizers. */
static cloze_status truncate_lengths(int64_t room, tokenizer_truncation how, bool has_pair,
                                     int64_t *n1, int64_t *n2, cloze_error *err) {
    int64_t excess = *n1 + *n2 - room;
    if (excess <= 0) return CLOZE_OK;
    if (how == TOKENIZER_LONGEST_FIRST) {
        if (!has_pair) {
            *n1 = room;
            return CLOZE_OK;
        }
        bool swapped = *n1 > *n2;
        int64_t low = swapped ? *n2 : *n1;
        int64_t high = low > room ? low : (low > room - low ? low : room - low);
        if (low + high > room) {
            low = room / 2;
            high = low + room % 2;
        }
        *n1 = swapped ? high : low;
        *n2 = swapped ? low : high;
        return CLOZE_OK;
    }
    int64_t *target = how == TOKENIZER_ONLY_FIRST ? n1 : n2;
    if (*target <= excess)
        CLOZE_FAIL(
            err, USAGE,
            "max_length leaves room for %lld tokens of text: the %s text cannot be cut that far",
            (long long)room, how == TOKENIZER_ONLY_FIRST ? "first" : "second");
    *target -= excess;
    return CLOZE_OK;
}

/* A sequence that stands at [begin, begin+n) of an encoding. */
typedef struct sequence_span {
    int32_t begin, n;
} sequence_span;

static void cut_span(encoding *out, sequence_span *span, int32_t keep, bool left) {
    int32_t drop = span->n - keep;
    if (drop > 0) encoding_remove(out, left ? span->begin : span->begin + keep, drop);
    span->n = keep;
}

static cloze_status truncate(const tokenizer_encode_options *opts, int32_t n_special, bool has_pair,
                             encoding *out, sequence_span *a, sequence_span *b, cloze_error *err) {
    if (!opts || opts->max_length <= 0) return CLOZE_OK;
    if (opts->max_length < n_special)
        CLOZE_FAIL(err, USAGE, "max_length %d is less than the %d special tokens", opts->max_length,
                   n_special);
    int64_t n1 = a->n, n2 = b->n;
    CLOZE_TRY(
        truncate_lengths(opts->max_length - n_special, opts->truncation, has_pair, &n1, &n2, err));
    sequence_span *last = a->begin > b->begin ? a : b, *first = last == a ? b : a;
    int32_t keep_last = (int32_t)(last == a ? n1 : n2), keep_first = (int32_t)(last == a ? n2 : n1);
    cut_span(out, last, keep_last, opts->truncate_left);
    int32_t dropped = first->n - keep_first;
    cut_span(out, first, keep_first, opts->truncate_left);
    if (dropped > 0) last->begin -= dropped;
    return CLOZE_OK;
}

/* Trims the offsets of one sequence that stands inside an encoding. */
static void trim_span(const tokenizer *tok, encoding *out, sequence_span span) {
    int32_t n = out->n;
    out->n = span.begin + span.n;
    trim_offsets(tok, out, span.begin);
    out->n = n;
}

static void set_types(encoding *out, sequence_span span, int32_t type) {
    if (!out->wants_token_types) return;
    for (int32_t i = 0; i < span.n; i++) out->token_types[span.begin + i] = type;
}

static cloze_status encode_parts(const tokenizer *tok, const char *text, size_t n, const char *pair,
                                 size_t pair_n, const tokenizer_encode_options *opts, encoding *out,
                                 cloze_error *err) {
    const special_layout *layout = pair ? &tok->pair : &tok->single;
    sequence_span a = {out->n, 0}, b = {out->n, 0};
    int32_t n_special = tokenizer_num_special(tok, pair != NULL);
    for (int32_t i = 0; i < layout->n; i++) {
        sequence_span span = {out->n, 1};
        int32_t part = layout->parts[i];
        if (part >= 0)
            CLOZE_TRY(encoding_append(out, part, 0, 0, err));
        else if (part == TOKENIZER_PART_A)
            CLOZE_TRY(encode_plain(tok, text, n, out, err));
        else
            CLOZE_TRY(encode_plain(tok, pair, pair_n, out, err));
        span.n = out->n - span.begin;
        set_types(out, span, layout->types[i]);
        if (part == TOKENIZER_PART_A) a = span;
        if (part == TOKENIZER_PART_B) b = span;
    }
    CLOZE_TRY(truncate(opts, n_special, pair != NULL, out, &a, &b, err));
    trim_span(tok, out, a);
    trim_span(tok, out, b);
    return CLOZE_OK;
}

cloze_status tokenizer_encode(const tokenizer *tok, const char *text, size_t n, const char *pair,
                              size_t pair_n, const tokenizer_encode_options *opts, encoding *out,
                              cloze_error *err) {
    int32_t before = out->n;
    CLOZE_TRY(encoding_reserve(out, (int64_t)((n + pair_n) / 3 + 8), err));
    cloze_status status = encode_parts(tok, text, n, pair, pair_n, opts, out, err);
    if (status != CLOZE_OK) out->n = before;
    return status;
}

cloze_status tokenizer_encode_batch(const tokenizer *tok, const char *const texts[],
                                    const size_t lens[], size_t n,
                                    const tokenizer_encode_options *opts, encoding outs[],
                                    cloze_error *err) {
    cloze_status first = CLOZE_OK;
#pragma omp parallel for schedule(dynamic, 64) if (n > 128)
    for (size_t i = 0; i < n; i++) {
        cloze_error local;
        encoding_clear(&outs[i]);
        cloze_status status =
            tokenizer_encode(tok, texts[i], lens[i], NULL, 0, opts, &outs[i], &local);
        if (status == CLOZE_OK) continue;
#pragma omp critical(tokenizer_batch_error)
        if (first == CLOZE_OK) {
            first = status;
            if (err) *err = local;
        }
    }
    return first;
}

int32_t tokenizer_num_special(const tokenizer *tok, bool pair) {
    const special_layout *layout = pair ? &tok->pair : &tok->single;
    int32_t count = 0;
    for (int32_t i = 0; i < layout->n; i++) count += layout->parts[i] >= 0;
    return count;
}

int32_t tokenizer_special_layout(const tokenizer *tok, bool pair,
                                 int32_t parts[TOKENIZER_MAX_PARTS],
                                 int32_t types[TOKENIZER_MAX_PARTS]) {
    const special_layout *layout = pair ? &tok->pair : &tok->single;
    memcpy(parts, layout->parts, sizeof layout->parts);
    if (types) memcpy(types, layout->types, sizeof layout->types);
    return layout->n;
}

tokenizer_kind tokenizer_get_kind(const tokenizer *tok) { return tok->kind; }

int32_t tokenizer_token_to_id(const tokenizer *tok, const char *token, size_t n) {
    const added_token *added = added_tokens_find(&tok->added, token, n);
    return added ? added->id : vocab_get(&tok->vocab, token, n);
}

const char *tokenizer_id_to_token(const tokenizer *tok, int32_t id) {
    const char *text = vocab_text(&tok->vocab, id, NULL);
    if (text) return text;
    const added_token *added = id >= 0 ? added_tokens_by_id(&tok->added, id) : NULL;
    return added ? added->content : NULL;
}

int32_t tokenizer_vocab_size(const tokenizer *tok) { return tok->n_ids; }

bool tokenizer_is_special(const tokenizer *tok, int32_t id) {
    return id >= 0 && id < tok->n_ids && (tok->flags[id] & TOKEN_SPECIAL);
}

bool tokenizer_is_continuation(const tokenizer *tok, int32_t id) {
    return id >= 0 && id < tok->n_ids && (tok->flags[id] & TOKEN_CONTINUES);
}

const tokenizer_special_ids *tokenizer_special(const tokenizer *tok) { return &tok->special; }

int32_t tokenizer_max_length(const tokenizer *tok) { return tok->max_length; }

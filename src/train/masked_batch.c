/* Masking for pre-training: single tokens or whole words, and keyword prompts. */
#include "train/masked_batch.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

void masked_batch_deinit(masked_batch *b) {
    mem_free(b->offsets);
    mem_free(b->input_ids);
    mem_free(b->position_ids);
    mem_free(b->mask_rows);
    mem_free(b->labels);
    mem_free(b->row_keys);
    memset(b, 0, sizeof *b);
}

static cloze_status reserve(masked_batch *b, int64_t tokens, int64_t seqs, cloze_error *err) {
    if (tokens > b->token_cap || seqs + 1 > b->seq_cap) {
        masked_batch_deinit(b);
        b->token_cap = tokens + tokens / 4;
        b->seq_cap = seqs + seqs / 4 + 2;
        MEM_NEW(err, b->offsets, b->seq_cap);
        MEM_NEW(err, b->input_ids, b->token_cap);
        MEM_NEW(err, b->position_ids, b->token_cap);
        MEM_NEW(err, b->mask_rows, b->token_cap);
        MEM_NEW(err, b->labels, b->token_cap);
        MEM_NEW(err, b->row_keys, b->token_cap);
    }
    b->n_seqs = b->n_tokens = b->n_masks = 0;
    return CLOZE_OK;
}

static void mask_token(masked_batch *b, int32_t row, const mask_options *o, rng *r) {
    uint32_t dice = rng_below(r, 10);
    b->mask_rows[b->n_masks] = row;
    b->labels[b->n_masks++] = b->input_ids[row];
    if (dice < 8)
        b->input_ids[row] = o->mask_id;
    else if (dice == 8)
        b->input_ids[row] = o->first_ordinary_id +
                            (int32_t)rng_below(r, (uint32_t)(o->vocab_size - o->first_ordinary_id));
}

/* Visits words in random order and masks whole ones while they fit the budget, which is at least
 * one token. Where every word is longer, a part of one is masked: a sequence without a mask would
 * teach nothing. */
static void mask_sequence(masked_batch *b, const int32_t *tokens, int32_t n, int32_t first_row,
                          const mask_options *o, rng *r) {
    int32_t starts[4096], n_words = 0;
    int32_t budget = (int32_t)((double)n * o->probability +
                               rng_uniform(r)); /* rounds at random: unbiased on short texts */
    if (budget < 1) budget = 1;
    for (int32_t i = 0; i < n && n_words < 4095; i++)
        if (i == 0 || !o->whole_word || (tokens[i] & 1)) starts[n_words++] = i;
    starts[n_words] = n;
    int32_t order[4096];
    for (int32_t i = 0; i < n_words; i++) order[i] = i;
    rng_shuffle_i32(r, order, n_words);
    int32_t first_mask = b->n_masks;
    for (int32_t i = 0; i < n_words && budget > 0; i++) {
        int32_t begin = starts[order[i]], end = starts[order[i] + 1];
        if (end - begin > budget && (b->n_masks > first_mask || end - begin > budget + 1)) continue;
        for (int32_t k = begin; k < end; k++) mask_token(b, first_row + k, o, r);
        budget -= end - begin;
    }
    if (b->n_masks > first_mask) return;
    for (int32_t k = 0; k < budget; k++) mask_token(b, first_row + starts[order[0]] + k, o, r);
}

/* ---- sequences ---- */

static void put_token(masked_batch *b, int32_t id, int32_t position, uint64_t own) {
    b->input_ids[b->n_tokens] = id;
    b->position_ids[b->n_tokens] = position;
    b->row_keys[b->n_tokens] = rng_mix(own, (uint64_t)(b->n_tokens - b->offsets[b->n_seqs]));
    b->n_tokens++;
}

static void put_plain(masked_batch *b, const int32_t *tokens, int32_t n, const mask_options *o,
                      uint64_t own, rng *r) {
    int32_t row = b->n_tokens;
    b->offsets[b->n_seqs] = row;
    put_token(b, o->cls_id, 0, own);
    for (int32_t k = 0; k < n; k++) put_token(b, tokens[k] >> 1, k + 1, own);
    put_token(b, o->sep_id, n + 1, own);
    mask_sequence(b, tokens, n, row + 1, o, r);
    b->n_seqs++;
}

/* tokens without any occurrence of the word, into rest; the number of tokens left. */
static int32_t leave_out(const int32_t *tokens, int32_t n, const int32_t *word, int32_t length,
                         int32_t *rest) {
    int32_t n_rest = 0;
    for (int32_t i = 0; i < n;) {
        int32_t same = 0;
        while (same < length && i + same < n && tokens[i + same] >> 1 == word[same] >> 1) same++;
        if (same == length)
            i += length;
        else
            rest[n_rest++] = tokens[i++];
    }
    return n_rest;
}

static void put_masks(masked_batch *b, const int32_t *word, int32_t length, const mask_options *o,
                      uint64_t own) {
    for (int32_t i = 0; i < length; i++) {
        b->mask_rows[b->n_masks] = b->n_tokens;
        b->labels[b->n_masks++] = word[i] >> 1;
        put_token(b, o->mask_id, b->n_tokens - b->offsets[b->n_seqs], own);
    }
}

/* One prompt: the template with the word's masks and the n tokens of text. */
static void put_prompt(masked_batch *b, const int32_t *text, int32_t n, const int32_t *word,
                       int32_t length, const mask_options *o, uint64_t own, rng *r) {
    const keyword_template *t = keyword_draw_template(o->keywords, r);
    int32_t begin = b->n_tokens;
    b->offsets[b->n_seqs] = begin;
    put_token(b, o->cls_id, 0, own);
    for (int32_t i = 0; i < t->n; i++) {
        if (t->slots[i] == KEYWORD_SLOT_MASKS) {
            put_masks(b, word, length, o, own);
        } else if (t->slots[i] == KEYWORD_SLOT_TEXT) {
            int32_t row = b->n_tokens;
            for (int32_t k = 0; k < n; k++) put_token(b, text[k] >> 1, row + k - begin, own);
            mask_sequence(b, text, n, row, o, r);
        } else {
            put_token(b, t->slots[i], b->n_tokens - begin, own);
        }
    }
    put_token(b, o->sep_id, 0, own);
    b->n_seqs++;
}

/* Cuts a sequence into texts of KEYWORD_MIN_TEXT .. KEYWORD_MAX_TEXT tokens, each in a prompt for a
 * word of the whole sequence. False, and nothing added, when there is no such word or no text
 * beside it. */
static bool put_prompts(masked_batch *b, const int32_t *tokens, int32_t n, const mask_options *o,
                        uint64_t own, rng *r) {
    int32_t first = b->n_seqs, rest[4096];
    for (int32_t at = 0, end; at < n; at = end) {
        int32_t begin = 0, length = 0;
        end =
            at + KEYWORD_MIN_TEXT + (int32_t)rng_below(r, KEYWORD_MAX_TEXT - KEYWORD_MIN_TEXT + 1);
        if (end + KEYWORD_MIN_TEXT > n) end = n;
        if (!keyword_choose(o->keywords, tokens, n, r, &begin, &length)) return false;
        int32_t n_rest = leave_out(tokens + at, end - at, tokens + begin, length, rest);
        if (n_rest < 2) continue;
        put_prompt(b, rest, n_rest, tokens + begin, length, o, rng_mix(own, (uint64_t)at + 1), r);
    }
    return b->n_seqs > first;
}

cloze_status masked_batch_fill(masked_batch *b, const corpus *c, const int32_t *order,
                               int64_t first, int64_t last, const mask_options *o, uint64_t key,
                               cloze_error *err) {
    int64_t total = 0, seqs = 0;
    int64_t extra = o->keywords ? keyword_prompts_max_extra(o->keywords) : 0;
    for (int64_t i = first; i < last; i++) {
        int64_t n = c->offsets[order[i] + 1] - c->offsets[order[i]];
        int64_t pieces = o->keywords ? n / KEYWORD_MIN_TEXT + 1 : 1;
        total += n + pieces * (2 + extra);
        seqs += pieces;
    }
    CLOZE_TRY(reserve(b, total, seqs, err));
    for (int64_t i = first; i < last; i++) {
        const int32_t *tokens = c->tokens + c->offsets[order[i]];
        int32_t n = (int32_t)(c->offsets[order[i] + 1] - c->offsets[order[i]]);
        uint64_t own = rng_mix(key, (uint64_t)order[i]);
        rng r;
        rng_init(&r, own);
        bool prompts = o->keywords && rng_uniform(&r) < o->keyword_probability;
        if (!prompts || !put_prompts(b, tokens, n, o, own, &r)) put_plain(b, tokens, n, o, own, &r);
    }
    b->offsets[b->n_seqs] = b->n_tokens;
    return CLOZE_OK;
}

/* Label words to token ids, laid out flat for the trainer. */
#include "prompt/verbalizer_words.h"

#include <string.h>

static cloze_status arena_i32(arena *a, int64_t n, int32_t **out, cloze_error *err) {
    *out = arena_alloc(a, (size_t)(n > 0 ? n : 1) * sizeof **out);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (label words)");
    return CLOZE_OK;
}

/* Appends the tokens of one word to `tokens`, after checking them. */
static cloze_status encode_word(const tokenizer *tok, const char *label, const char *word,
                                const verbalizer_words_options *opts, encoding *tokens,
                                cloze_error *err) {
    int32_t begin = tokens->n, unk = tokenizer_special(tok)->unk;
    size_t n = strlen(word);
    bool spaced =
        tokenizer_get_kind(tok) == TOKENIZER_BYTE_BPE && !opts->word_starts_text && word[0] != ' ';
    char *copy = mem_alloc(n + 2);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory (label words)");
    copy[0] = ' ';
    memcpy(copy + 1, word, n + 1);
    cloze_status status =
        tokenizer_encode_text(tok, spaced ? copy : word, n + (spaced ? 1 : 0), tokens, err);
    mem_free(copy);
    CLOZE_TRY(status);
    if (tokens->n == begin)
        CLOZE_FAIL(
            err, DATA,
            "label \"%.200s\": the word \"%.200s\" has no token in this vocabulary; give the label "
            "another word (label==word in label.txt)",
            label, word);
    for (int32_t i = begin; i < tokens->n && !opts->allow_unknown; i++)
        if (tokens->ids[i] == unk)
            CLOZE_FAIL(
                err, DATA,
                "label \"%.200s\": a part of the word \"%.200s\" is unknown to this vocabulary; "
                "give the label another word (label==word in label.txt)",
                label, word);
    return CLOZE_OK;
}

/* Groups words by their number of tokens: a counting sort. */
static cloze_status group_words(verbalizer_words *w, cloze_error *err) {
    int32_t *counts;
    MEM_NEW(err, counts, (int64_t)w->max_length + 1);
    for (int32_t i = 0; i < w->n_words; i++)
        counts[w->token_offsets[i + 1] - w->token_offsets[i]]++;
    for (int32_t k = 1; k <= w->max_length; k++) w->n_groups += counts[k] > 0;
    cloze_status status = arena_i32(&w->memory, w->n_groups, &w->group_lengths, err);
    if (status == CLOZE_OK)
        status = arena_i32(&w->memory, (int64_t)w->n_groups + 1, &w->group_offsets, err);
    if (status == CLOZE_OK) status = arena_i32(&w->memory, w->n_words, &w->group_words, err);
    for (int32_t k = 1, g = 0, at = 0; k <= w->max_length && status == CLOZE_OK; k++) {
        if (counts[k] == 0) continue;
        w->group_lengths[g] = k;
        w->group_offsets[g++] = at;
        for (int32_t i = 0; i < w->n_words; i++)
            if (w->token_offsets[i + 1] - w->token_offsets[i] == k) w->group_words[at++] = i;
    }
    if (status == CLOZE_OK) w->group_offsets[w->n_groups] = w->n_words;
    mem_free(counts);
    return status;
}

static cloze_status build(const label_set *labels, const tokenizer *tok,
                          const verbalizer_words_options *opts, verbalizer_words *w,
                          encoding *tokens, cloze_error *err) {
    int64_t n_words = 0;
    for (int32_t l = 0; l < labels->n; l++) n_words += labels->entries[l].n_words;
    if (n_words > INT32_MAX - 1) CLOZE_FAIL(err, DATA, "too many label words");
    CLOZE_TRY(arena_i32(&w->memory, (int64_t)labels->n + 1, &w->word_offsets, err));
    CLOZE_TRY(arena_i32(&w->memory, n_words, &w->word_labels, err));
    CLOZE_TRY(arena_i32(&w->memory, n_words + 1, &w->token_offsets, err));
    for (int32_t l = 0; l < labels->n; l++) {
        const label_entry *entry = &labels->entries[l];
        for (int32_t i = 0; i < entry->n_words; i++) {
            int32_t begin = tokens->n;
            CLOZE_TRY(encode_word(tok, entry->name, entry->words[i], opts, tokens, err));
            if (tokens->n - begin > w->max_length) w->max_length = tokens->n - begin;
            w->word_labels[w->n_words++] = l;
            w->token_offsets[w->n_words] = tokens->n;
        }
        w->word_offsets[++w->n_labels] = w->n_words;
    }
    w->n_tokens = tokens->n;
    w->token_ids = arena_copy(&w->memory, tokens->ids, (size_t)tokens->n * sizeof *tokens->ids);
    if (!w->token_ids) CLOZE_FAIL(err, MEMORY, "out of memory (label words)");
    return group_words(w, err);
}

cloze_status verbalizer_words_build(const label_set *labels, const tokenizer *tok,
                                    const verbalizer_words_options *opts, verbalizer_words *out,
                                    cloze_error *err) {
    static const verbalizer_words_options defaults = {0};
    encoding tokens;
    *out = (verbalizer_words){0};
    if (labels->n == 0) CLOZE_FAIL(err, DATA, "there are no labels");
    arena_init(&out->memory, 1 << 14);
    encoding_init(&tokens, false, false);
    cloze_status status = build(labels, tok, opts ? opts : &defaults, out, &tokens, err);
    encoding_deinit(&tokens);
    if (status != CLOZE_OK) verbalizer_words_deinit(out);
    return status;
}

void verbalizer_words_deinit(verbalizer_words *words) {
    arena_deinit(&words->memory);
    *words = (verbalizer_words){0};
}

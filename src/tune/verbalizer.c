/* Soft and manual verbalizers; see verbalizer.h for what they compute. */
#include "tune/verbalizer.h"

#include <string.h>

/* Words of one length: which vocabulary rows they need and how token scores make label scores. */
typedef struct word_group {
    int32_t n_masks; /* k: tokens of each word */
    int32_t *rows;   /* (U) distinct vocabulary rows */
    int32_t n_rows;  /* U */
    param mix;       /* (C, k*U) or, normalised, (C, k*(U+1)): frozen weights of the averages */
} word_group;

struct verbalizer {
    verbalizer_kind kind;
    int32_t n_labels;
    int32_t n_masks;    /* soft */
    param soft;         /* soft: (C,H) */
    param bias;         /* soft: (1,C); without a name: there is none */
    bool pool_hidden;   /* soft */
    word_group *groups; /* manual */
    int32_t n_groups;
    bool normalised; /* manual with words of several lengths: log p, not logits */
};

void verbalizer_destroy(verbalizer *v) {
    if (!v) return;
    for (int32_t g = 0; g < v->n_groups; g++) {
        mem_free(v->groups[g].rows);
        param_deinit(&v->groups[g].mix);
    }
    mem_free(v->groups);
    param_deinit(&v->soft);
    param_deinit(&v->bias);
    mem_free(v);
}

static cloze_status param_make(param *p, const char *name, int64_t rows, int64_t cols,
                               cloze_error *err) {
    float *values;
    MEM_NEW(err, values, rows * cols);
    p->owned = values;
    p->name = mem_strdup(name);
    p->rank = 2;
    p->w.t = tensor_of(values, DTYPE_F32, rows, cols);
    p->w.version = 1;
    if (!p->name) CLOZE_FAIL(err, MEMORY, "out of memory for %s", name);
    return CLOZE_OK;
}

/* ---- soft ---- */

static cloze_status soft_create(verbalizer *v, model *m, const verbalizer_label_words *words,
                                int32_t fixed_masks, cloze_error *err) {
    param *decoder, *bias;
    model_masked_lm_decoder(m, &decoder, &bias);
    const tensor *table = &decoder->w.t; /* (V,H) */
    int64_t h = table->cols;
    v->n_masks = fixed_masks > 0 ? fixed_masks : 1;
    CLOZE_TRY(param_make(&v->soft, "verbalizer.weight", v->n_labels, h, err));
    v->soft.requires_grad = true;
    v->soft.group = PARAM_GROUP_PROMPT;
    float *row;
    MEM_NEW(err, row, h);
    for (int32_t l = 0; l < v->n_labels; l++) {
        float *out = (float *)v->soft.w.t.data + l * h;
        int32_t first = words->word_offsets[l];
        int32_t begin = words->token_offsets[first], end = words->token_offsets[first + 1];
        for (int32_t i = begin; i < end; i++) {
            const char *source = (const char *)table->data + (size_t)words->token_ids[i] *
                                                                 (size_t)table->ld *
                                                                 dtype_size(table->dtype);
            dtype_to_f32(row, source, table->dtype, (size_t)h);
            for (int64_t c = 0; c < h; c++) out[c] += row[c] / (float)(end - begin);
        }
    }
    mem_free(row);
    return CLOZE_OK;
}

cloze_status verbalizer_add_bias(verbalizer *v, cloze_error *err) {
    CLOZE_TRY(param_make(&v->bias, "verbalizer.bias", 1, v->n_labels, err));
    v->bias.rank = 1;
    v->bias.requires_grad = true;
    v->bias.group = PARAM_GROUP_PROMPT;
    return CLOZE_OK;
}

/* The mean over a sequence's masks: rows (B*k,X) -> (B,X). */
static var *pool_masks(tape *t, const verbalizer *v, int32_t n_seqs, var *rows) {
    if (v->n_masks == 1) return rows;
    int32_t *offsets = tape_alloc(t, ((size_t)n_seqs + 1) * sizeof *offsets);
    if (!offsets) return NULL;
    for (int32_t b = 0; b <= n_seqs; b++) offsets[b] = b * v->n_masks;
    return op_mean_pool(t, rows, offsets, n_seqs);
}

static var *soft_forward(tape *t, verbalizer *v, model *m, int32_t n_seqs,
                         var *rows /* (B*k,H) hidden states */) {
    if (v->pool_hidden) rows = pool_masks(t, v, n_seqs, rows); /* (B,H) */
    rows = model_masked_lm_transform(t, m, rows);
    var *scores = op_linear_logits(t, rows, &v->soft, verbalizer_bias(v)); /* (B*k or B,C) */
    return v->pool_hidden ? scores : pool_masks(t, v, n_seqs, scores);
}

/* ---- manual ---- */

static int32_t word_length(const verbalizer_label_words *w, int32_t word) {
    return w->token_offsets[word + 1] - w->token_offsets[word];
}

/* Position of a vocabulary row among the group's rows, added when new. rows has room for all
 * tokens. */
static int32_t row_index(word_group *g, int32_t id) {
    for (int32_t i = 0; i < g->n_rows; i++)
        if (g->rows[i] == id) return i;
    g->rows[g->n_rows] = id;
    return g->n_rows++;
}

static cloze_status group_fill(verbalizer *v, word_group *g, const verbalizer_label_words *w,
                               cloze_error *err) {
    int32_t n_words = w->word_offsets[w->n_labels];
    MEM_NEW(err, g->rows, w->token_offsets[n_words] + 1);
    for (int32_t word = 0; word < n_words; word++)
        if (word_length(w, word) == g->n_masks)
            for (int32_t i = w->token_offsets[word]; i < w->token_offsets[word + 1]; i++)
                row_index(g, w->token_ids[i]);
    int64_t width =
        g->n_rows +
        (v->normalised ? 1 : 0); /* scores of a mask: U logits, and its log-denominator */
    CLOZE_TRY(param_make(&g->mix, "verbalizer.mix", v->n_labels, g->n_masks * width, err));
    float *mix = g->mix.w.t.data;
    for (int32_t l = 0; l < v->n_labels; l++) {
        int32_t n = w->word_offsets[l + 1] - w->word_offsets[l];
        for (int32_t word = w->word_offsets[l]; word < w->word_offsets[l + 1]; word++) {
            if (word_length(w, word) != g->n_masks) continue;
            float share = 1.0f / ((float)n * (float)g->n_masks);
            for (int32_t i = 0; i < g->n_masks; i++) {
                float *cell = mix + (int64_t)l * g->n_masks * width + i * width;
                cell[row_index(g, w->token_ids[w->token_offsets[word] + i])] += share;
                if (v->normalised) cell[g->n_rows] -= share;
            }
        }
    }
    return CLOZE_OK;
}

static cloze_status manual_create(verbalizer *v, const verbalizer_label_words *w,
                                  int32_t fixed_masks, cloze_error *err) {
    int32_t n_words = w->word_offsets[w->n_labels];
    int32_t longest = 0;
    for (int32_t word = 0; word < n_words; word++) {
        int32_t k = word_length(w, word);
        if (fixed_masks > 0 && k != fixed_masks)
            CLOZE_FAIL(err, USAGE,
                       "the prompt has %d masks but a label word has %d tokens; write one {'mask'} "
                       "without a length so that it takes the word's own",
                       fixed_masks, k);
        if (k > longest) longest = k;
    }
    MEM_NEW(err, v->groups, longest + 1);
    for (int32_t k = 1; k <= longest; k++) {
        bool used = false;
        for (int32_t word = 0; word < n_words; word++) used = used || word_length(w, word) == k;
        if (used) v->groups[v->n_groups++].n_masks = k;
    }
    v->normalised = v->n_groups > 1;
    for (int32_t g = 0; g < v->n_groups; g++) CLOZE_TRY(group_fill(v, &v->groups[g], w, err));
    return CLOZE_OK;
}

static var *manual_forward(tape *t, verbalizer *v, model *m, word_group *g, int32_t n_seqs,
                           var *rows) {
    var *scores = model_masked_lm_logits(t, m, rows, g->rows, g->n_rows); /* (B*k,U) */
    int64_t width = g->n_rows;
    if (v->normalised) {
        var *logits = model_masked_lm_logits(t, m, rows, NULL, 0); /* (B*k,V) */
        int32_t *all = tape_alloc(t, 2 * sizeof *all);
        if (!all || !logits) return NULL;
        all[1] = (int32_t)logits->t.cols;
        var *parts[2] = {scores, op_logsumexp(t, logits, all, 1)};
        scores = op_concat_columns(t, parts, 2); /* (B*k,U+1) */
        width++;
    }
    var *by_sequence = op_reshape(t, scores, n_seqs, g->n_masks * width); /* (B,k*width) */
    return op_linear_exact(t, by_sequence, &g->mix, NULL);                      /* (B,C) */
}

/* ---- both ---- */

/* Every label has a word, every word a token, every token a row of the vocabulary. */
static cloze_status check_words(const model *m, const verbalizer_label_words *w, cloze_error *err) {
    int64_t vocab = model_get_config(m)->vocab_size;
    int32_t n_words = w->word_offsets[w->n_labels], n_tokens = w->token_offsets[n_words];
    for (int32_t l = 0; l < w->n_labels; l++)
        if (w->word_offsets[l] == w->word_offsets[l + 1])
            CLOZE_FAIL(err, DATA, "label %d has no word", l);
    for (int32_t word = 0; word < n_words; word++)
        if (word_length(w, word) < 1) CLOZE_FAIL(err, DATA, "a label word has no tokens");
    for (int32_t i = 0; i < n_tokens; i++)
        if (w->token_ids[i] < 0 || w->token_ids[i] >= vocab)
            CLOZE_FAIL(err, MODEL,
                       "token id %d of a label word is outside the model's vocabulary of %lld",
                       w->token_ids[i], (long long)vocab);
    return CLOZE_OK;
}

cloze_status verbalizer_create(verbalizer_kind kind, model *m, const verbalizer_label_words *words,
                               int32_t fixed_masks, verbalizer **out, cloze_error *err) {
    verbalizer *v;
    *out = NULL;
    CLOZE_TRY(check_words(m, words, err));
    MEM_NEW(err, v, 1);
    v->kind = kind;
    v->n_labels = words->n_labels;
    cloze_status status = kind == VERBALIZER_SOFT ? soft_create(v, m, words, fixed_masks, err)
                                                  : manual_create(v, words, fixed_masks, err);
    if (status != CLOZE_OK) {
        verbalizer_destroy(v);
        return status;
    }
    *out = v;
    return CLOZE_OK;
}

int32_t verbalizer_n_views(const verbalizer *v) {
    return v->kind == VERBALIZER_SOFT ? 1 : v->n_groups;
}

int32_t verbalizer_view_masks(const verbalizer *v, int32_t view) {
    return v->kind == VERBALIZER_SOFT ? v->n_masks : v->groups[view].n_masks;
}

verbalizer_kind verbalizer_get_kind(const verbalizer *v) { return v->kind; }
param *verbalizer_param(verbalizer *v) { return v->kind == VERBALIZER_SOFT ? &v->soft : NULL; }
param *verbalizer_bias(verbalizer *v) { return v->bias.name ? &v->bias : NULL; }
void verbalizer_pool_hidden_states(verbalizer *v) { v->pool_hidden = true; }

var *verbalizer_forward(tape *t, verbalizer *v, model *m, int32_t i, int32_t n_seqs, var *masks) {
    if (v->kind == VERBALIZER_SOFT) return soft_forward(t, v, m, n_seqs, masks);
    var *rows = model_masked_lm_transform(t, m, masks); /* (B*k,H) */
    return manual_forward(t, v, m, &v->groups[i], n_seqs, rows);
}

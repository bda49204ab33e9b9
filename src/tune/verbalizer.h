/*
 * Verbalizers: from the hidden states at the mask positions to label scores.
 *
 * soft    a linear layer (C,H) over the transformed mask states replaces the vocabulary matrix
 *         (WARP, Hambardzumyan et al. 2021; PaddleNLP's SoftVerbalizer). Row l starts at the mean
 *         of the embeddings of the tokens of label l's first word. Several masks: scores are
 *         averaged.
 * manual  score(l) = mean over l's words of the mean over the word's tokens of log p(token | its
 *         mask), with as many masks as the word has tokens. Words of one length share a view of
 *         the input; where all words have one length the denominator of p cancels between labels,
 *         so only the label words' rows of the vocabulary matrix are used.
 */
#ifndef CLOZE_TUNE_VERBALIZER_H
#define CLOZE_TUNE_VERBALIZER_H

#include "model/model.h"

typedef enum verbalizer_kind { VERBALIZER_SOFT, VERBALIZER_MANUAL } verbalizer_kind;

/* Label words as token ids, borrowed during create. Word w of label l: word_offsets[l] <= w <
 * word_offsets[l+1]; its tokens: token_ids[token_offsets[w] .. token_offsets[w+1]). */
typedef struct verbalizer_label_words {
    int32_t n_labels;
    const int32_t *word_offsets;  /* (C+1) */
    const int32_t *token_offsets; /* (n_words+1) */
    const int32_t *token_ids;
} verbalizer_label_words;

typedef struct verbalizer verbalizer;

/* fixed_masks: the number of masks that the template fixes, 0 = the words' own. A manual verbalizer
 * whose words have other lengths than fixed_masks is ERR_USAGE. m must have a masked-LM head. */
cloze_status verbalizer_create(verbalizer_kind kind, model *m, const verbalizer_label_words *words,
                               int32_t fixed_masks, verbalizer **out, cloze_error *err);
void verbalizer_destroy(verbalizer *v);

int32_t verbalizer_n_views(const verbalizer *v);
int32_t verbalizer_view_masks(const verbalizer *v, int32_t view); /* masks of each sequence */
verbalizer_kind verbalizer_get_kind(const verbalizer *v);
/* The soft head's weight (C,H), named "verbalizer.weight"; NULL for manual. Group PROMPT. */
param *verbalizer_param(verbalizer *v);

/* Gives a soft head a bias (1,C) of zeros, "verbalizer.bias": PaddleNLP's heads have one. */
cloze_status verbalizer_add_bias(verbalizer *v, cloze_error *err);
param *verbalizer_bias(verbalizer *v); /* NULL: there is none */
/* Soft, several masks: the mean of the hidden states goes through the head (PaddleNLP to 2.4.0), not
 * each of them. */
void verbalizer_pool_hidden_states(verbalizer *v);

/* Scores (B,C) of view `i`, f32; the sum over views is the logit. masks (B*k,H): the hidden states
 * of its B sequences' masks, sequence by sequence, k = verbalizer_view_masks. */
var *verbalizer_forward(tape *t, verbalizer *v, model *m, int32_t i, int32_t n_seqs, var *masks);

#endif

/* Self-attention and the post-norm encoder layer (Vaswani et al. 2017; Devlin et al. 2019). */
#include <math.h>

#include "nn/nn.h"

/* Context of the rows that ask: their queries (R,H) meet all keys and values (N,H). */
static var *attend_from_rows(tape *t, const nn_prefix *prefix, const nn_rows *rows, var *qkv,
                             attention_layout *layout) {
    if (!qkv) return NULL;
    int64_t h = qkv->t.cols / 3;
    var *q = op_gather_rows(t, op_slice_columns(t, qkv, 0, h), rows->rows,
                            rows->offsets[layout->n_seqs]);
    var *k = op_slice_columns(t, qkv, h, h), *v = op_slice_columns(t, qkv, 2 * h, h);
    layout->q_offsets = rows->offsets;
    return op_attention(t, q, k, v, prefix->key, prefix->value, layout);
}

var *nn_attention_forward(tape *t, const nn_attention *a, const nn_batch *batch,
                          const nn_rows *rows, var *x) {
    nn_prefix prefix = {0};
    if (a->prefix) {
        cloze_status status = a->prefix(t, a->prefix_state, a->layer, batch, &prefix);
        if (status != CLOZE_OK)
            return tape_fail(t, status, "the prefix of layer %d could not be made", a->layer);
    }
    attention_layout layout = {
        .n_seqs = batch->n_seqs,
        .q_offsets = batch->offsets,
        .kv_offsets = batch->offsets,
        .n_heads = a->n_heads,
        .head_dim = a->head_dim,
        .scale = 1.0f / sqrtf((float)a->head_dim),
        .mask = ATTENTION_FULL,
        .dropout_p = a->dropout_p,
        .site = a->site,
        .n_prefix = prefix.n,
        .prefix_per_seq = prefix.per_seq,
    };
    var *qkv = nn_linear_forward(t, &a->qkv, x, ACT_NONE);                      /* (N,3H) */
    var *context = rows ? attend_from_rows(t, &prefix, rows, qkv, &layout) /* (R,H) */
                        : op_attention_qkv(t, qkv, prefix.key, prefix.value, &layout); /* (N,H) */
    return nn_linear_forward(t, &a->output, context, ACT_NONE);
}

var *nn_encoder_layer_forward(tape *t, const nn_encoder_layer *l, const nn_batch *batch,
                              const nn_rows *rows, var *x) {
    tape_scope_begin(t);
    var *a = nn_attention_forward(t, &l->attention, batch, rows, x); /* (N,H), or (R,H) from here */
    if (rows) x = op_gather_rows(t, x, rows->rows, rows->offsets[batch->n_seqs]);
    var *h = nn_layer_norm_forward(t, &l->attention_norm, a, x, l->dropout_p, l->attention_site);
    var *f = nn_linear_forward(t, &l->intermediate, h, l->act); /* (N,F) */
    f = nn_linear_forward(t, &l->output, f, ACT_NONE);          /* (N,H) */
    var *y = nn_layer_norm_forward(t, &l->output_norm, f, h, l->dropout_p, l->output_site);
    tape_scope_end(t, &y, 1);
    return y;
}

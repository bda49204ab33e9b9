/* Linear layers, norms and embeddings. */
#include <stdio.h>
#include <string.h>

#include "nn/nn.h"

cloze_status nn_build_linear(nn_state *s, const char *const names[], int n_parts, int64_t in,
                             int64_t out, bool bias, bool head, nn_linear *l, cloze_error *err) {
    char name[256];
    *l = (nn_linear){0};
    for (int is_bias = 0; is_bias <= (bias ? 1 : 0); is_bias++) {
        const char *suffix = is_bias ? "bias" : "weight";
        param **slot = is_bias ? &l->bias : &l->weight;
        snprintf(name, sizeof name, "%s%s.%s", names[0], n_parts > 1 ? "+" : "", suffix);
        CLOZE_TRY(nn_state_add_param(s, name, is_bias ? 1 : 2, is_bias ? 1 : out,
                                     is_bias ? out : in, is_bias ? NN_INIT_ZERO : NN_INIT_NORMAL,
                                     slot, err));
        for (int i = 0; i < n_parts; i++) {
            snprintf(name, sizeof name, "%s.%s", names[i], suffix);
            CLOZE_TRY(
                nn_state_add_entry(s, name, *slot, i * (out / n_parts), out / n_parts, head, err));
        }
    }
    return CLOZE_OK;
}

var *nn_linear_forward(tape *t, const nn_linear *l, var *x, activation act) {
    if (l->n_adapters == 0) return op_linear(t, x, l->weight, l->bias, act);
    var *y = op_linear(t, x, l->weight, l->bias, ACT_NONE);
    for (int i = 0; i < l->n_adapters; i++) {
        const nn_adapter *a = &l->adapters[i];
        y = op_add_columns(t, y, a->forward(t, a->state, x), a->begin);
    }
    return act == ACT_NONE ? y : op_activation(t, y, act);
}

cloze_status nn_build_layer_norm(nn_state *s, const char *name, int64_t size, float eps, bool head,
                                 nn_layer_norm *n, cloze_error *err) {
    char full[256];
    n->eps = eps;
    snprintf(full, sizeof full, "%s.weight", name);
    CLOZE_TRY(nn_state_add_param(s, full, 1, 1, size, NN_INIT_ONE, &n->gamma, err));
    CLOZE_TRY(nn_state_add_entry(s, full, n->gamma, 0, size, head, err));
    snprintf(full, sizeof full, "%s.bias", name);
    CLOZE_TRY(nn_state_add_param(s, full, 1, 1, size, NN_INIT_ZERO, &n->beta, err));
    return nn_state_add_entry(s, full, n->beta, 0, size, head, err);
}

var *nn_layer_norm_forward(tape *t, const nn_layer_norm *n, var *x, var *residual, float dropout_p,
                           uint64_t site) {
    return op_layer_norm(t, x, residual, dropout_p, site, n->gamma, n->beta, n->eps);
}

/* Position ids of a packed batch: given, or running from 0 in every sequence; the model's offset
 * added. */
static const int32_t *batch_positions(const nn_batch *b, int64_t offset, int32_t *out /* (N) */) {
    for (int32_t s = 0; s < b->n_seqs; s++)
        for (int32_t i = b->offsets[s]; i < b->offsets[s + 1]; i++)
            out[i] = (int32_t)offset + (b->position_ids ? b->position_ids[i] : i - b->offsets[s]);
    return out;
}

var *nn_embeddings_forward(tape *t, const nn_embeddings *e, const nn_batch *batch) {
    int64_t n = batch->n_tokens;
    int32_t *scratch =
        tape_alloc(t, ((size_t)n * 2 + 1) * sizeof *scratch); /* positions (N), zeros (N) */
    if (!scratch) return NULL;
    const int32_t *zeros = scratch + n;
    const int32_t *given[4] = {batch->input_ids,
                               batch_positions(batch, e->position_offset, scratch),
                               batch->token_type_ids ? batch->token_type_ids : zeros,
                               batch->task_type_ids ? batch->task_type_ids : zeros};
    param *tables[4];
    const int32_t *ids[4];
    int n_tables = 0;
    for (int i = 0; i < 4; i++) {
        if (!e->tables[i]) continue;
        tables[n_tables] = e->tables[i];
        ids[n_tables++] = given[i];
    }
    tape_scope_begin(t);
    var *x = op_embedding(t, tables, ids, n_tables, n);
    if (e->override) x = e->override(t, e->override_state, batch, x);
    x = nn_layer_norm_forward(t, &e->norm, x, NULL, 0.0f, 0);
    x = op_dropout(t, x, e->dropout_p, e->site);
    tape_scope_end(t, &x, 1);
    return x;
}

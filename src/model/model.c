/* A model's life: created or opened, encoded with, trained in one block, destroyed. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "model/load.h"

cloze_status model_build(const model_config *config, model_head head, model **out,
                         cloze_error *err) {
    model *m;
    *out = NULL;
    MEM_NEW(err, m, 1);
    m->head = head;
    cloze_status status = model_config_copy(config, &m->config, err);
    if (status == CLOZE_OK)
        status = m->config.def->build(&m->config, head, &m->state, &m->self, err);
    if (status != CLOZE_OK) {
        model_destroy(m);
        return status;
    }
    model_set_dropout(m, -1.0, -1.0);
    *out = m;
    return CLOZE_OK;
}

cloze_status model_initialize_param(model *m, int index, uint64_t seed, cloze_error *err) {
    param *p = m->state.params[index];
    bool is_word_table = p == model_embeddings(m)->tables[0];
    return nn_param_initialize(p, m->state.inits[index], seed, (float)m->config.initializer_range,
                               is_word_table ? m->config.pad_token_id : -1, err);
}

cloze_status model_create(const model_config *config, model_head head, uint64_t seed, model **out,
                          cloze_error *err) {
    model *m;
    CLOZE_TRY(model_build(config, head, &m, err));
    for (int i = 0; i < m->state.n_params; i++) {
        cloze_status status = model_initialize_param(m, i, seed, err);
        if (status != CLOZE_OK) {
            model_destroy(m);
            return status;
        }
    }
    *out = m;
    return CLOZE_OK;
}

void model_destroy(model *m) {
    if (!m) return;
    if (m->config.def) m->config.def->destroy(m->self);
    nn_state_deinit(&m->state);
    param_block_destroy(m->block);
    ckpt_close(m->checkpoint);
    model_config_deinit(&m->config);
    mem_free(m);
}

const model_config *model_get_config(const model *m) { return &m->config; }
model_head model_get_head(const model *m) { return m->head; }
nn_state *model_get_state(model *m) { return &m->state; }
const model_def *model_get_def(const model *m) { return m->config.def; }
void *model_get_self(model *m) { return m->self; }
nn_embeddings *model_embeddings(model *m) { return m->config.def->embeddings(m->self); }
int64_t model_max_length(const model *m) { return m->config.def->max_length(&m->config); }

int64_t model_param_count(const model *m) {
    int64_t count = 0;
    for (int i = 0; i < m->state.n_params; i++)
        count += m->state.params[i]->w.t.rows * m->state.params[i]->w.t.cols;
    return count;
}

bool model_has_tied_decoder(const model *m) {
    param *decoder = NULL, *bias = NULL;
    if (m->head != MODEL_HEAD_MASKED_LM) return false;
    m->config.def->masked_lm_decoder(m->self, &decoder, &bias);
    return decoder == m->config.def->embeddings(m->self)->tables[0];
}

void model_set_dropout(model *m, double hidden, double attention) {
    const model_config *c = &m->config;
    double classifier = c->classifier_dropout >= 0 ? c->classifier_dropout : c->hidden_dropout_prob;
    c->def->set_dropout(m->self, hidden < 0 ? c->hidden_dropout_prob : hidden,
                        attention < 0 ? c->attention_probs_dropout_prob : attention,
                        hidden < 0 ? classifier : hidden);
}

var *model_encode(tape *t, model *m, const nn_batch *batch, bool checkpointing) {
    return m->config.def->encode(t, m->self, batch, NULL, checkpointing);
}

var *model_encode_rows(tape *t, model *m, const nn_batch *batch, const int32_t *rows,
                       int64_t n_rows, bool checkpointing) {
    nn_rows *wanted = tape_alloc(t, sizeof *wanted);
    int32_t *offsets = tape_alloc(t, ((size_t)batch->n_seqs + 1) * sizeof *offsets);
    if (!wanted || !offsets) return NULL;
    int64_t n = 0;
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        while (n < n_rows && rows[n] >= batch->offsets[s] && rows[n] < batch->offsets[s + 1]) n++;
        offsets[s + 1] = (int32_t)n;
    }
    if (n < n_rows)
        return tape_fail(t, CLOZE_ERR_INTERNAL,
                         "model_encode_rows: row %d is outside the batch, or out of order",
                         (int)rows[n]);
    *wanted = (nn_rows){rows, offsets};
    return m->config.def->encode(t, m->self, batch, wanted, checkpointing);
}

var *model_masked_lm_transform(tape *t, model *m, var *rows) {
    return m->config.def->masked_lm_transform(t, m->self, rows);
}

void model_masked_lm_decoder(model *m, param **out_weight, param **out_bias) {
    m->config.def->masked_lm_decoder(m->self, out_weight, out_bias);
}

var *model_masked_lm_logits(tape *t, model *m, var *transformed, const int32_t *vocab_rows,
                            int64_t n) {
    param *decoder, *bias;
    model_masked_lm_decoder(m, &decoder, &bias);
    if (vocab_rows) return op_linear_rows(t, transformed, decoder, bias, vocab_rows, n);
    return op_linear_logits(t, transformed, decoder, bias);
}

var *model_classify(tape *t, model *m, var *first) {
    return m->config.def->classify(t, m->self, first);
}

void model_first_rows(const nn_batch *batch, int32_t *out) {
    for (int32_t b = 0; b < batch->n_seqs; b++) out[b] = batch->offsets[b];
}

void model_set_requires_grad(model *m, bool on) {
    for (int i = 0; i < m->state.n_params; i++) m->state.params[i]->requires_grad = on;
}

cloze_status model_train_begin(model *m, param *const extra[], int n_extra, param_block **out,
                               cloze_error *err) {
    param **params;
    int n = 0;
    if (m->block) CLOZE_FAIL(err, INTERNAL, "the model is being trained already");
    MEM_NEW(err, params, m->state.n_params + n_extra + 1);
    for (int i = 0; i < m->state.n_params; i++)
        if (m->state.params[i]->requires_grad) params[n++] = m->state.params[i];
    for (int i = 0; i < n_extra; i++) params[n++] = extra[i];
    cloze_status status = param_block_create(params, n, &m->block, err);
    mem_free(params);
    if (status != CLOZE_OK) return status;
    /* The block has its own copy now: the file's pages would only count as memory in use. */
    for (size_t i = 0; m->checkpoint && i < ckpt_count(m->checkpoint); i++)
        ckpt_advise_dontneed(ckpt_at(m->checkpoint, i));
    *out = m->block;
    return CLOZE_OK;
}

cloze_status model_check_finite(const model *m, cloze_error *err) {
    const char *file =
        m->checkpoint && ckpt_count(m->checkpoint) ? ckpt_at(m->checkpoint, 0)->file : "the model";
    float part[1024];
    const size_t room = sizeof part / sizeof *part;
    for (int i = 0; i < m->state.n_params; i++) {
        const param *p = m->state.params[i];
        const tensor *t = &p->w.t;
        size_t count = (size_t)(t->rows * t->cols), size = dtype_size(t->dtype);
        for (size_t at = 0; at < count; at += room) {
            size_t n = count - at < room ? count - at : room;
            dtype_to_f32(part, (const char *)t->data + at * size, t->dtype, n);
            for (size_t k = 0; k < n; k++)
                if (!isfinite(part[k]))
                    CLOZE_FAIL(
                        err, MODEL,
                        "%s: the weights are damaged: %s holds %g at (%zu, %zu); fetch or save the "
                        "model again",
                        file, p->name, (double)part[k], (at + k) / (size_t)t->cols,
                        (at + k) % (size_t)t->cols);
        }
    }
    return CLOZE_OK;
}

/*
 * BERT, RoBERTa and ERNIE: post-norm encoders with learned positions (Devlin et al. 2019; Liu et
 * al. 2019; Sun et al. 2021). They differ in names, in where positions start, in ERNIE's task type
 * embeddings and in the heads; everything else is shared.
 */
#include "model/bert.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"

typedef struct bert {
    const model_config *config; /* borrowed from the model */
    nn_embeddings embeddings;
    nn_encoder_layer *layers; /* (L) */
    int n_layers;
    /* masked LM head */
    nn_linear transform;
    nn_layer_norm transform_norm;
    activation transform_act;
    param *decoder_weight, *decoder_bias; /* (V,H) the word embeddings when tied; (1,V) */
    /* sequence-classification head: pooler or dense, tanh, dropout, out */
    nn_linear pooler, classifier;
    bool dropout_before_pooler; /* RoBERTa */
    float classifier_dropout;
    uint64_t classifier_site, pooler_site;
} bert;

/* What the three families name differently. */
typedef struct bert_names {
    const char *base;
    const char *transform, *transform_norm, *decoder, *decoder_bias, *untied_decoder_bias;
    const char *pooler; /* NULL: under the base */
    const char *classifier;
} bert_names;

static const bert_names BERT_NAMES = {"bert",
                                      "cls.predictions.transform.dense",
                                      "cls.predictions.transform.LayerNorm",
                                      "cls.predictions.decoder.weight",
                                      "cls.predictions.bias",
                                      "cls.predictions.decoder.bias",
                                      NULL,
                                      "classifier"};
static const bert_names ERNIE_NAMES = {"ernie",
                                       "cls.predictions.transform.dense",
                                       "cls.predictions.transform.LayerNorm",
                                       "cls.predictions.decoder.weight",
                                       "cls.predictions.bias",
                                       "cls.predictions.decoder.bias",
                                       NULL,
                                       "classifier"};
static const bert_names ROBERTA_NAMES = {
    "roberta",      "lm_head.dense",        "lm_head.layer_norm", "lm_head.decoder.weight",
    "lm_head.bias", "lm_head.decoder.bias", "classifier.dense",   "classifier.out_proj"};

static bool is_roberta(const bert_names *n) { return n == &ROBERTA_NAMES; }

static cloze_status build_table(nn_state *s, const char *base, const char *name, int64_t rows,
                                int64_t cols, param **out, cloze_error *err) {
    char full[128];
    snprintf(full, sizeof full, "%s.embeddings.%s.weight", base, name);
    CLOZE_TRY(nn_state_add_param(s, full, 2, rows, cols, NN_INIT_NORMAL, out, err));
    (*out)->row_lazy = true;
    return nn_state_add_entry(s, full, *out, 0, rows, false, err);
}

static cloze_status build_embeddings(bert *b, const bert_names *names, nn_state *s,
                                     cloze_error *err) {
    const model_config *c = b->config;
    nn_embeddings *e = &b->embeddings;
    char name[128];
    CLOZE_TRY(build_table(s, names->base, "word_embeddings", c->vocab_size, c->hidden_size,
                          &e->tables[0], err));
    CLOZE_TRY(build_table(s, names->base, "position_embeddings", c->max_position_embeddings,
                          c->hidden_size, &e->tables[1], err));
    if (c->type_vocab_size > 0)
        CLOZE_TRY(build_table(s, names->base, "token_type_embeddings", c->type_vocab_size,
                              c->hidden_size, &e->tables[2], err));
    if (c->use_task_id)
        CLOZE_TRY(build_table(s, names->base, "task_type_embeddings", c->task_type_vocab_size,
                              c->hidden_size, &e->tables[3], err));
    e->position_offset = is_roberta(names) ? c->pad_token_id + 1 : 0;
    e->site = rng_mix_string(0, "embeddings.dropout");
    snprintf(name, sizeof name, "%s.embeddings.LayerNorm", names->base);
    return nn_build_layer_norm(s, name, c->hidden_size, (float)c->layer_norm_eps, false, &e->norm,
                               err);
}

static cloze_status build_attention(nn_attention *a, const model_config *c, const char *prefix,
                                    int layer, nn_state *s, cloze_error *err) {
    char parts[3][160], name[160];
    const char *qkv[3];
    static const char *const WHICH[3] = {"query", "key", "value"};
    for (int i = 0; i < 3; i++) {
        snprintf(parts[i], sizeof parts[i], "%s.attention.self.%s", prefix, WHICH[i]);
        qkv[i] = parts[i];
    }
    int64_t h = c->hidden_size;
    CLOZE_TRY(nn_build_linear(s, qkv, 3, h, 3 * h, true, false, &a->qkv, err));
    snprintf(name, sizeof name, "%s.attention.output.dense", prefix);
    CLOZE_TRY(
        nn_build_linear(s, (const char *const[]){name}, 1, h, h, true, false, &a->output, err));
    a->n_heads = (int32_t)c->num_attention_heads;
    a->head_dim = (int32_t)(h / c->num_attention_heads);
    a->layer = layer;
    snprintf(name, sizeof name, "layer.%d.attention.self.dropout", layer);
    a->site = rng_mix_string(0, name);
    return CLOZE_OK;
}

static cloze_status build_layer(nn_encoder_layer *l, const model_config *c, const char *base,
                                int layer, nn_state *s, cloze_error *err) {
    char prefix[96], name[160];
    int64_t h = c->hidden_size, f = c->intermediate_size;
    snprintf(prefix, sizeof prefix, "%s.encoder.layer.%d", base, layer);
    CLOZE_TRY(build_attention(&l->attention, c, prefix, layer, s, err));
    snprintf(name, sizeof name, "%s.attention.output.LayerNorm", prefix);
    CLOZE_TRY(
        nn_build_layer_norm(s, name, h, (float)c->layer_norm_eps, false, &l->attention_norm, err));
    snprintf(name, sizeof name, "%s.intermediate.dense", prefix);
    CLOZE_TRY(nn_build_linear(s, (const char *const[]){name}, 1, h, f, true, false,
                              &l->intermediate, err));
    snprintf(name, sizeof name, "%s.output.dense", prefix);
    CLOZE_TRY(
        nn_build_linear(s, (const char *const[]){name}, 1, f, h, true, false, &l->output, err));
    snprintf(name, sizeof name, "%s.output.LayerNorm", prefix);
    CLOZE_TRY(
        nn_build_layer_norm(s, name, h, (float)c->layer_norm_eps, false, &l->output_norm, err));
    l->act = c->hidden_act;
    snprintf(name, sizeof name, "layer.%d.attention.output.dropout", layer);
    l->attention_site = rng_mix_string(0, name);
    snprintf(name, sizeof name, "layer.%d.output.dropout", layer);
    l->output_site = rng_mix_string(0, name);
    return CLOZE_OK;
}

static cloze_status build_masked_lm(bert *b, const bert_names *names, nn_state *s,
                                    cloze_error *err) {
    const model_config *c = b->config;
    int64_t h = c->hidden_size;
    CLOZE_TRY(nn_build_linear(s, &names->transform, 1, h, h, true, true, &b->transform, err));
    CLOZE_TRY(nn_build_layer_norm(s, names->transform_norm, h, (float)c->layer_norm_eps, true,
                                  &b->transform_norm, err));
    b->transform_act = is_roberta(names) ? ACT_GELU_ERF : c->hidden_act;
    bool tied = true;
    CLOZE_TRY(json_get_bool(c->json, "tie_word_embeddings", &tied, err));
    b->decoder_weight = b->embeddings.tables[0];
    if (!tied) {
        CLOZE_TRY(nn_state_add_param(s, names->decoder, 2, c->vocab_size, h, NN_INIT_NORMAL,
                                     &b->decoder_weight, err));
        CLOZE_TRY(
            nn_state_add_entry(s, names->decoder, b->decoder_weight, 0, c->vocab_size, true, err));
    }
    CLOZE_TRY(nn_state_add_param(s, names->decoder_bias, 1, 1, c->vocab_size, NN_INIT_ZERO,
                                 &b->decoder_bias, err));
    CLOZE_TRY(
        nn_state_add_entry(s, names->decoder_bias, b->decoder_bias, 0, c->vocab_size, true, err));
    if (tied) return CLOZE_OK;
    /* transformers 5 adds the untied decoder's own bias, earlier versions share it: both names are
     * written, and of two that differ the decoder's, read last, holds */
    return nn_state_add_entry(s, names->untied_decoder_bias, b->decoder_bias, 0, c->vocab_size,
                              true, err);
}

static cloze_status build_classifier(bert *b, const bert_names *names, nn_state *s,
                                     cloze_error *err) {
    const model_config *c = b->config;
    int64_t h = c->hidden_size;
    char pooler[64];
    snprintf(pooler, sizeof pooler, "%s.pooler.dense", names->base);
    const char *pooler_name = names->pooler ? names->pooler : pooler;
    CLOZE_TRY(nn_build_linear(s, &pooler_name, 1, h, h, true, true, &b->pooler, err));
    CLOZE_TRY(nn_build_linear(s, &names->classifier, 1, h, c->num_labels, true, true,
                              &b->classifier, err));
    b->dropout_before_pooler = is_roberta(names);
    b->classifier_site = rng_mix_string(0, "classifier.dropout");
    b->pooler_site = rng_mix_string(0, "classifier.dense.dropout");
    return CLOZE_OK;
}

static void bert_destroy(void *self) {
    bert *b = self;
    if (!b) return;
    mem_free(b->layers);
    mem_free(b);
}

static cloze_status build_all(bert *b, const bert_names *names, model_head head, nn_state *s,
                              cloze_error *err) {
    MEM_NEW(err, b->layers, b->n_layers ? b->n_layers : 1);
    CLOZE_TRY(build_embeddings(b, names, s, err));
    for (int i = 0; i < b->n_layers; i++)
        CLOZE_TRY(build_layer(&b->layers[i], b->config, names->base, i, s, err));
    if (head == MODEL_HEAD_MASKED_LM) return build_masked_lm(b, names, s, err);
    if (head == MODEL_HEAD_SEQUENCE_CLASSIFICATION) return build_classifier(b, names, s, err);
    return CLOZE_OK;
}

static cloze_status build(const model_config *c, const bert_names *names, model_head head,
                          nn_state *s, void **self, cloze_error *err) {
    bert *b;
    MEM_NEW(err, b, 1);
    b->config = c;
    b->n_layers = (int)c->num_hidden_layers;
    cloze_status status = build_all(b, names, head, s, err);
    if (status != CLOZE_OK) {
        bert_destroy(b);
        return status;
    }
    *self = b;
    return CLOZE_OK;
}

static cloze_status build_bert(const model_config *c, model_head head, nn_state *s, void **self,
                               cloze_error *err) {
    return build(c, &BERT_NAMES, head, s, self, err);
}
static cloze_status build_roberta(const model_config *c, model_head head, nn_state *s, void **self,
                                  cloze_error *err) {
    return build(c, &ROBERTA_NAMES, head, s, self, err);
}
static cloze_status build_ernie(const model_config *c, model_head head, nn_state *s, void **self,
                                cloze_error *err) {
    return build(c, &ERNIE_NAMES, head, s, self, err);
}

/* A layer as a block that gradient checkpointing can run again. */
typedef struct layer_call {
    const nn_encoder_layer *layer;
    nn_batch batch;
    const nn_rows *rows;
} layer_call;
static var *run_layer(tape *t, void *ctx, var *x) {
    layer_call *call = ctx;
    return nn_encoder_layer_forward(t, call->layer, &call->batch, call->rows, x);
}

static var *run_layer_or_checkpoint(tape *t, const nn_encoder_layer *layer, const nn_batch *batch,
                                    const nn_rows *rows, var *x, bool checkpointing) {
    if (!checkpointing) return nn_encoder_layer_forward(t, layer, batch, rows, x);
    layer_call *call = tape_alloc(t, sizeof *call);
    if (!call) return NULL;
    *call = (layer_call){layer, *batch, rows};
    return tape_checkpoint(t, run_layer, call, x);
}

/* The last layer works for the rows that are read only. */
static var *bert_encode(tape *t, void *self, const nn_batch *batch, const nn_rows *rows,
                        bool checkpointing) {
    bert *b = self;
    var *x = nn_embeddings_forward(t, &b->embeddings, batch); /* (N,H) */
    if (b->n_layers == 0 && rows)
        return op_gather_rows(t, x, rows->rows, rows->offsets[batch->n_seqs]);
    for (int i = 0; i < b->n_layers; i++) {
        const nn_rows *wanted = i + 1 == b->n_layers ? rows : NULL;
        var *y = run_layer_or_checkpoint(t, &b->layers[i], batch, wanted, x, checkpointing);
        tape_release(t, x); /* without gradients only one layer's values are alive */
        x = y;
    }
    return x;
}

static var *bert_transform(tape *t, void *self, var *rows /* (R,H) */) {
    bert *b = self;
    var *x = nn_linear_forward(t, &b->transform, rows, b->transform_act);
    return nn_layer_norm_forward(t, &b->transform_norm, x, NULL, 0.0f, 0);
}

static void bert_decoder(void *self, param **out_weight, param **out_bias) {
    bert *b = self;
    *out_weight = b->decoder_weight;
    *out_bias = b->decoder_bias;
}

static var *bert_classify(tape *t, void *self, var *first /* (B,H) */) {
    bert *b = self;
    if (b->dropout_before_pooler)
        first = op_dropout(t, first, b->classifier_dropout, b->pooler_site);
    var *pooled = nn_linear_forward(t, &b->pooler, first, ACT_TANH);
    pooled = op_dropout(t, pooled, b->classifier_dropout, b->classifier_site);
    return op_linear_logits(t, pooled, b->classifier.weight, b->classifier.bias);
}

static int64_t bert_max_length(const model_config *c) { return c->max_position_embeddings; }
static int64_t roberta_max_length(const model_config *c) {
    return c->max_position_embeddings - c->pad_token_id - 1;
}

static void bert_set_dropout(void *self, double hidden, double attention, double classifier) {
    bert *b = self;
    b->embeddings.dropout_p = (float)hidden;
    b->classifier_dropout = (float)classifier;
    for (int i = 0; i < b->n_layers; i++) {
        b->layers[i].dropout_p = (float)hidden;
        b->layers[i].attention.dropout_p = (float)attention;
    }
}

static void bert_visit_linears(void *self, void (*visit)(void *ctx, const char *name, nn_linear *l),
                               void *ctx) {
    bert *b = self;
    char name[96];
    for (int i = 0; i < b->n_layers; i++) {
        nn_encoder_layer *l = &b->layers[i];
        const struct {
            const char *suffix;
            nn_linear *linear;
        } linears[] = {
            {"attention.self.qkv", &l->attention.qkv},
            {"attention.output.dense", &l->attention.output},
            {"intermediate.dense", &l->intermediate},
            {"output.dense", &l->output},
        };
        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "encoder.layer.%d.%s", i, linears[k].suffix);
            visit(ctx, name, linears[k].linear);
        }
    }
}

static void bert_visit_attentions(void *self, void (*visit)(void *ctx, nn_attention *a),
                                  void *ctx) {
    bert *b = self;
    for (int i = 0; i < b->n_layers; i++) visit(ctx, &b->layers[i].attention);
}

static nn_embeddings *bert_embeddings(void *self) { return &((bert *)self)->embeddings; }

#define BERT_FAMILY(types, base_name, archs, build_fn, max_length_fn)                              \
    {                                                                                              \
        .model_types = types, .base = base_name, .architectures = archs, .build = build_fn,        \
        .destroy = bert_destroy, .encode = bert_encode, .masked_lm_transform = bert_transform,     \
        .masked_lm_decoder = bert_decoder, .classify = bert_classify,                              \
        .set_dropout = bert_set_dropout, .max_length = max_length_fn,                              \
        .visit_linears = bert_visit_linears, .visit_attentions = bert_visit_attentions,            \
        .embeddings = bert_embeddings                                                              \
    }

static const char *const BERT_TYPES[] = {"bert", NULL};
static const char *const BERT_ARCHS[] = {"BertModel", "BertForMaskedLM",
                                         "BertForSequenceClassification"};
const model_def model_def_bert =
    BERT_FAMILY(BERT_TYPES, "bert", BERT_ARCHS, build_bert, bert_max_length);

static const char *const ROBERTA_TYPES[] = {"roberta", "xlm-roberta", "camembert", NULL};
static const char *const ROBERTA_ARCHS[] = {"RobertaModel", "RobertaForMaskedLM",
                                            "RobertaForSequenceClassification"};
const model_def model_def_roberta =
    BERT_FAMILY(ROBERTA_TYPES, "roberta", ROBERTA_ARCHS, build_roberta, roberta_max_length);

static const char *const ERNIE_TYPES[] = {"ernie", NULL};
static const char *const ERNIE_ARCHS[] = {"ErnieModel", "ErnieForMaskedLM",
                                          "ErnieForSequenceClassification"};
const model_def model_def_ernie =
    BERT_FAMILY(ERNIE_TYPES, "ernie", ERNIE_ARCHS, build_ernie, bert_max_length);

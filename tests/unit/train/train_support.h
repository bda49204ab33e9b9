/*
 * A toy world for the tests of classifiers and training: a vocabulary of 40, tiny pre-trained
 * models in directories, labels and labelled texts that a word tells apart.
 */
#ifndef CLOZE_TESTS_TRAIN_SUPPORT_H
#define CLOZE_TESTS_TRAIN_SUPPORT_H

#include "train/classifier.h"
#include "train/session.h"
#include "unit/model/tiny_model.h"

#define TOY_VOCAB                                                                                           \
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n好\n坏\n很\n差\n太\n了\n不\n的\n是\n这\n条\n新\n闻\n" \
    "film\nbook\nplot\nactor\nscene\nred\nblue\ngreen\none\ntwo\n##s\n##ly\nawful\ngreat\n.\n,\n"           \
    "体\n育\n财\n经\n车\n人\n"
#define TOY_FIELDS "\"vocab_size\": 40, " TINY_FIELDS
#define TOY_BERT "{\"model_type\": \"bert\", " TOY_FIELDS "}"

/* A pre-trained model with its tokenizer in dir. */
static UNUSED void make_pretrained(const char *dir, const char *config, model_head head) {
    tokenizer *tok = NULL;
    wordpiece_settings s = {.do_lower_case = 1, .strip_accents = -1, .tokenize_chinese_chars = 1};
    tiny_model_dir(dir, config, head, 11);
    MUST(tokenizer_create_wordpiece(TOY_VOCAB, strlen(TOY_VOCAB), &s, &tok, err));
    MUST(tokenizer_save(tok, dir, err));
    tokenizer_destroy(tok);
}

static UNUSED label_set make_labels(const char *json) {
    label_set labels;
    MUST(label_set_parse_json(json, strlen(json), "labels", CLOZE_ERR_DATA, &labels, NULL, err));
    return labels;
}

#define ONE_TOKEN_LABELS "{\"bad\": [\"坏\"], \"good\": [\"好\"]}"
#define TWO_TOKEN_LABELS "{\"bad\": [\"很坏\", \"很差\"], \"good\": [\"很好\"]}"
#define MIXED_LABELS "{\"bad\": [\"坏\", \"很差\"], \"good\": [\"太好了\"], \"so\": [\"是\"]}"

static UNUSED dataset parse_data(const char *text, const label_set *labels) {
    dataset d;
    dataset_options o = {.labelling = DATASET_LABELS_AUTO};
    MUST(dataset_parse(text, strlen(text), "toy.txt", &o, labels, &d, err));
    return d;
}

/* n texts: "great" stands in the good ones, "awful" in the bad ones, noise around them. */
static UNUSED dataset toy_data(int n, const label_set *labels, uint64_t seed) {
    static const char *const NOISE[] = {"film", "book",  "plots", "actor", "这条新闻", "red",
                                        "blue", "green", "one",   "two",   "scene",    "是"};
    buf b;
    rng r;
    rng_init(&r, seed);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++) {
        int words = 1 + (int)rng_below(&r, 4), telling = (int)rng_below(&r, (uint32_t)words);
        for (int w = 0; w < words; w++)
            buf_printf(&b, "%s%s ", w == telling ? (i % 2 ? "great " : "awful ") : "",
                       NOISE[rng_below(&r, COUNT(NOISE))]);
        buf_printf(&b, "\t%s\n", i % 2 ? "good" : "bad");
    }
    dataset d = parse_data(b.data, labels);
    buf_deinit(&b);
    return d;
}

static UNUSED classifier *create_ok(const char *dir, const classifier_options *o,
                                    const label_set *labels) {
    classifier *c = NULL;
    MUST(classifier_create(dir, o, labels, &c, err));
    return c;
}

static UNUSED classifier *open_ok(const char *dir) {
    classifier *c = NULL;
    MUST(classifier_open(dir, NULL, &c, err));
    return c;
}

static UNUSED session open_session(const char *device) {
    session s;
    MUST(session_open(&s, device, 1, false, err));
    return s;
}

/* Logits (n,C) of a data set, mem_free. */
static UNUSED float *predict(session *s, classifier *c, const dataset *d, int32_t batch_size) {
    encoded_views views;
    MUST(encoded_views_build(c, d->examples, d->n, &views, err));
    float *logits = mem_alloc((size_t)(d->n * classifier_labels(c)->n + 1) * sizeof *logits);
    assert_non_null(logits);
    MUST(session_predict(s, c, &views, batch_size, logits, NULL, err));
    encoded_views_deinit(&views);
    return logits;
}

#endif

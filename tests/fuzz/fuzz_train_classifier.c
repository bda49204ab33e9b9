/* covers: src/train/classifier_io.c */
/* dictionary: template.dict */
/*
 * What a run directory says beside its model and vocabulary: refused with a message, or a classifier
 * that encodes a text and, saved and opened again, is the same. Input: classifier.json,
 * verbalizer_config.json and template_config.json, each ended by NUL.
 */
#include "ckpt/checkpoint_write.h"
#include "fuzz_files.h"
#include "prompt/batch.h"
#include "train/classifier.h"

static const char config_json[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 12, \"hidden_size\": 4, \"num_attention_heads\": 1, "
    "\"intermediate_size\": 4, \"num_hidden_layers\": 1, \"max_position_embeddings\": 32}";
static const char vocab_txt[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##d\nlabel\nis\n.\n";

/* Model, vocabulary and the weights of a verbalizer of two labels. */
static void put_constant_files(void) {
    static const float zeros[2 * 4];
    const ckpt_item soft = {"verbalizer.weight", DTYPE_F32, 2, {2, 4}, zeros, false};
    model_config config;
    model *m;
    cloze_error err = {0};
    const char *dir = fuzz_path("run");
    if (dir_create(dir, &err) != CLOZE_OK ||
        model_config_parse(config_json, sizeof config_json - 1, "config", &config, &err) !=
            CLOZE_OK ||
        model_create(&config, MODEL_HEAD_MASKED_LM, 1, &m, &err) != CLOZE_OK ||
        model_save(m, dir, DTYPE_F32, &err) != CLOZE_OK ||
        safetensors_write(fuzz_path("run/prompt.safetensors"), &soft, 1, NULL, 0, &err) != CLOZE_OK)
        abort();
    fuzz_put("run/vocab.txt", vocab_txt, sizeof vocab_txt - 1);
    model_destroy(m);
    model_config_deinit(&config);
}

static classifier *open_dir(const char *dir) {
    classifier *c = NULL;
    cloze_error err = {0};
    cloze_status status = classifier_open(dir, NULL, &c, &err);
    if (status != CLOZE_OK && (c || status != CLOZE_ERR_MODEL || !err.message[0])) abort();
    return c;
}

/* The ids of an example, all views. */
static int64_t encode(const classifier *c, int32_t *ids, int64_t room) {
    const example ex = {.text = "a b. cd", .text_b = "b", .text_len = 7, .text_b_len = 1, .line = 1};
    int64_t n = 0;
    for (int32_t i = 0; i < classifier_n_views(c); i++) {
        encoded_set set;
        cloze_error err = {0};
        if (encoded_set_build(classifier_encoder(c, i), &ex, 1, &set, &err) != CLOZE_OK) {
            if (!err.message[0]) abort();
            continue;
        }
        for (int64_t k = 0; k < set.offsets[1] && n < room; k++) ids[n++] = set.input_ids[k];
        encoded_set_deinit(&set);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool is_ready;
    int32_t ids[2][512];
    cloze_error err = {0};
    if (!is_ready) put_constant_files();
    is_ready = true;
    fuzz_put_part("run/classifier.json", &data, &size);
    fuzz_put_part("run/verbalizer_config.json", &data, &size);
    fuzz_put_part("run/template_config.json", &data, &size);
    classifier *c = open_dir(fuzz_path("run"));
    if (!c) return 0;
    int64_t n = encode(c, ids[0], 512);
    const char *saved = fuzz_path("saved");
    if (dir_create(saved, &err) != CLOZE_OK || classifier_save(c, saved, &err) != CLOZE_OK) abort();
    classifier *again = open_dir(saved);
    if (!again || encode(again, ids[1], 512) != n || memcmp(ids[0], ids[1], (size_t)n * 4) != 0)
        abort();
    classifier_destroy(again);
    classifier_destroy(c);
    return 0;
}

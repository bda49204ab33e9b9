/* Models of random weights, texts, runs and token ids: made once, the same on every machine. */
#include <cloze.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define VOCAB 40000
#define POSITIONS 2048
#define TYPES 4
#define LABELS 15
#define ARTICLES 512
#define LINE_BYTES 65536

static const shape_info SHAPES[] = {{"base", 12, 768, 12, 3072}, {"small", 4, 384, 12, 1536}};

const shape_info *shape_find(const char *name) {
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        if (strcmp(SHAPES[i].name, name) == 0) return &SHAPES[i];
    return NULL;
}

static bool complain(const char *what, const char *path) {
    fprintf(stderr, "bench: %s %s: %s\n", what, path, strerror(errno));
    return false;
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static bool make_dir(const char *path) {
    return mkdir(path, 0777) == 0 || errno == EEXIST || complain("cannot make", path);
}

static bool join(char out[PATH_BYTES], const char *dir, const char *name) {
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    if (n > 0 && n < PATH_BYTES) return true;
    fprintf(stderr, "bench: %s/%s: the path is too long\n", dir, name);
    return false;
}

/* Opens dir/name for writing beside its place; done renames it there. */
static FILE *begin_file(const char *dir, const char *name) {
    char tmp[PATH_BYTES + 256];
    snprintf(tmp, sizeof tmp, "%s/%s.tmp", dir, name);
    FILE *f = fopen(tmp, "wb");
    if (!f) complain("cannot write", tmp);
    return f;
}

static bool end_file(FILE *f, const char *dir, const char *name) {
    char tmp[PATH_BYTES + 256], path[PATH_BYTES + 256];
    snprintf(tmp, sizeof tmp, "%s/%s.tmp", dir, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    bool ok = !ferror(f);
    ok = fclose(f) == 0 && ok;
    return (ok && rename(tmp, path) == 0) || complain("cannot write", path);
}

/* ---- a model directory ---- */

typedef enum fill { FILL_RANDOM, FILL_ZERO, FILL_ONE } fill;
typedef struct weight_entry {
    char name[128];
    int64_t rows, cols; /* cols 0: a vector of rows */
    fill fill;
} weight_entry;

typedef struct weight_list {
    weight_entry entries[16 * 24 + 16];
    int n;
} weight_list;

static void add(weight_list *l, const char *prefix, const char *name, int64_t rows, int64_t cols,
                fill how) {
    weight_entry *e = &l->entries[l->n++];
    snprintf(e->name, sizeof e->name, "%s%s", prefix, name);
    e->rows = rows;
    e->cols = cols;
    e->fill = how;
}

static void add_linear(weight_list *l, const char *prefix, const char *name, int64_t out,
                       int64_t in) {
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    add(l, prefix, weight, out, in, FILL_RANDOM);
    add(l, prefix, bias, out, 0, FILL_ZERO);
}

static void add_norm(weight_list *l, const char *prefix, const char *name, int64_t h) {
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    add(l, prefix, weight, h, 0, FILL_ONE);
    add(l, prefix, bias, h, 0, FILL_ZERO);
}

/* Hugging Face's names of BertForMaskedLM. */
static void list_weights(const shape_info *s, weight_list *l) {
    int h = s->hidden, f = s->intermediate;
    const char *e = "bert.embeddings.", *head = "cls.predictions.";
    l->n = 0;
    add(l, e, "word_embeddings.weight", VOCAB, h, FILL_RANDOM);
    add(l, e, "position_embeddings.weight", POSITIONS, h, FILL_RANDOM);
    add(l, e, "token_type_embeddings.weight", TYPES, h, FILL_RANDOM);
    add_norm(l, e, "LayerNorm", h);
    for (int i = 0; i < s->layers; i++) {
        char p[48];
        snprintf(p, sizeof p, "bert.encoder.layer.%d.", i);
        add_linear(l, p, "attention.self.query", h, h);
        add_linear(l, p, "attention.self.key", h, h);
        add_linear(l, p, "attention.self.value", h, h);
        add_linear(l, p, "attention.output.dense", h, h);
        add_norm(l, p, "attention.output.LayerNorm", h);
        add_linear(l, p, "intermediate.dense", f, h);
        add_linear(l, p, "output.dense", h, f);
        add_norm(l, p, "output.LayerNorm", h);
    }
    add_linear(l, head, "transform.dense", h, h);
    add_norm(l, head, "transform.LayerNorm", h);
    add(l, head, "bias", VOCAB, 0, FILL_ZERO);
}

static uint64_t next_random(uint64_t *state) { /* Marsaglia's xorshift64*, 2003 and Vigna 2016 */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ull;
}

/* About normal with deviation 0.02: four uniform 16-bit numbers, whose sum has deviation 0.577. */
static float random_weight(uint64_t *state) {
    uint64_t r = next_random(state);
    double sum = 0;
    for (int i = 0; i < 4; i++, r >>= 16) sum += (double)(r & 65535) / 65536.0 - 0.5;
    return (float)(sum * (0.02 / 0.57735));
}

static void write_tensor(FILE *f, const weight_entry *e, uint64_t *state) {
    float values[4096];
    int64_t left = e->rows * (e->cols ? e->cols : 1);
    while (left > 0) {
        size_t n = left < 4096 ? (size_t)left : 4096;
        for (size_t i = 0; i < n; i++)
            values[i] = e->fill == FILL_RANDOM ? random_weight(state) : e->fill == FILL_ONE;
        fwrite(values, sizeof *values, n, f);
        left -= (int64_t)n;
    }
}

static bool write_weights(const char *dir, const shape_info *s) {
    static weight_list l;
    uint64_t state = 88172645463325252ull;
    int64_t at = 0;
    char *header = NULL;
    size_t n = 0;
    FILE *text = open_memstream(&header, &n), *f = begin_file(dir, "model.safetensors");
    if (!text || !f) return false;
    list_weights(s, &l);
    for (int i = 0; i < l.n; i++) {
        const weight_entry *e = &l.entries[i];
        int64_t bytes = e->rows * (e->cols ? e->cols : 1) * (int64_t)sizeof(float);
        fprintf(text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%lld", i ? "," : "{", e->name,
                (long long)e->rows);
        if (e->cols) fprintf(text, ",%lld", (long long)e->cols);
        fprintf(text, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)(at + bytes));
        at += bytes;
    }
    fputc('}', text);
    while (ftell(text) % 8) fputc(' ', text);
    fclose(text);
    uint64_t header_bytes = n;
    fwrite(&header_bytes, sizeof header_bytes, 1, f); /* safetensors is little-endian, as we are */
    fwrite(header, 1, n, f);
    free(header);
    for (int i = 0; i < l.n; i++) write_tensor(f, &l.entries[i], &state);
    return end_file(f, dir, "model.safetensors");
}

static bool write_config(const char *dir, const shape_info *s) {
    FILE *f = begin_file(dir, "config.json");
    if (!f) return false;
    fprintf(f,
            "{\"architectures\": [\"BertForMaskedLM\"], \"model_type\": \"bert\",\n"
            " \"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d,\n"
            " \"intermediate_size\": %d, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12,\n"
            " \"hidden_dropout_prob\": 0.1, \"attention_probs_dropout_prob\": 0.1,\n"
            " \"vocab_size\": %d, \"max_position_embeddings\": %d, \"type_vocab_size\": %d,\n"
            " \"pad_token_id\": 0, \"initializer_range\": 0.02, \"torch_dtype\": \"float32\"}\n",
            s->hidden, s->layers, s->heads, s->intermediate, VOCAB, POSITIONS, TYPES);
    return end_file(f, dir, "config.json");
}

static void put_utf8(FILE *f, unsigned c) {
    fprintf(f, "%c%c%c", 0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
}

/* Special tokens, ASCII, punctuation and all common Chinese characters; the rest are fillers. */
static bool write_vocab(const char *dir) {
    FILE *f = begin_file(dir, "vocab.txt");
    int n = 0;
    if (!f) return false;
    n += fprintf(f, "[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n") > 0 ? 5 : 0;
    for (int c = 33; c < 127; c++, n++) fprintf(f, "%c\n", c);
    for (int c = 33; c < 127; c++, n++) fprintf(f, "##%c\n", c);
    for (unsigned c = 0x3000; c < 0x3020; c++, n++) put_utf8(f, c), fputc('\n', f);
    for (unsigned c = 0xff01; c < 0xff5f; c++, n++) put_utf8(f, c), fputc('\n', f);
    for (unsigned c = 0x2010; c < 0x2030; c++, n++) put_utf8(f, c), fputc('\n', f);
    for (unsigned c = 0x4e00; c < 0x9fa6; c++, n++) put_utf8(f, c), fputc('\n', f);
    for (int i = 0; n < VOCAB; i++, n++) fprintf(f, "##filler%d\n", i);
    return end_file(f, dir, "vocab.txt");
}

static bool write_tokenizer_config(const char *dir) {
    FILE *f = begin_file(dir, "tokenizer_config.json");
    if (!f) return false;
    fputs("{\"do_lower_case\": true, \"tokenizer_class\": \"BertTokenizer\"}\n", f);
    return end_file(f, dir, "tokenizer_config.json");
}

bool workload_model(const workload *w, const char *shape, char path[PATH_BYTES]) {
    const shape_info *s = shape_find(shape);
    if (!s) return join(path, w->root, "models/cloze-mini-zh");
    char weights[PATH_BYTES];
    if (!join(path, w->dir, shape) || !join(weights, path, "model.safetensors")) return false;
    if (is_there(weights)) return true;
    fprintf(stderr, "bench: making a random model in %s\n", path);
    return make_dir(path) && write_config(path, s) && write_vocab(path) &&
           write_tokenizer_config(path) && write_weights(path, s);
}

/* ---- texts ---- */

typedef struct text_list {
    char **texts;
    int n, cap;
} text_list;

static bool push_text(text_list *l, const char *text) {
    if (l->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 1024;
        char **more = realloc(l->texts, (size_t)cap * sizeof *more);
        if (!more) return false;
        l->texts = more;
        l->cap = cap;
    }
    l->texts[l->n] = strdup(text);
    return l->texts[l->n] && ++l->n;
}

/* The first column of a file's lines. */
static bool read_titles(const char *path, text_list *l) {
    static char line[LINE_BYTES];
    FILE *f = fopen(path, "r");
    if (!f) return complain("cannot read", path);
    bool ok = true;
    while (ok && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\t\r\n")] = 0;
        if (*line) ok = push_text(l, line);
    }
    fclose(f);
    return ok;
}

/* Long texts: titles one after another up to lengths between 150 and 650 characters. */
static bool make_articles(const text_list *titles, text_list *out) {
    int next = 0;
    for (int i = 0; i < ARTICLES; i++) {
        char text[4096] = "";
        size_t bytes = 0, wanted = 3 * (size_t)(150 + i * 197 % 500);
        while (bytes < wanted) {
            const char *title = titles->texts[next++ % titles->n];
            int n = snprintf(text + bytes, sizeof text - bytes, "%s。", title);
            if (n < 0 || (size_t)n >= sizeof text - bytes) {
                text[bytes] = 0;
                break;
            }
            bytes += (size_t)n;
        }
        if (!push_text(out, text)) return false;
    }
    return true;
}

bool workload_open(workload *w, const char *root) {
    text_list titles = {0}, articles = {0};
    char path[PATH_BYTES];
    memset(w, 0, sizeof *w);
    if (!join(w->root, root, ".") || !join(path, root, "build") || !make_dir(path)) return false;
    w->root[strlen(w->root) - 2] = 0;
    if (!join(w->dir, root, "build/bench") || !make_dir(w->dir)) return false;
    if (!join(path, root, "../shared/data/tnews/data.txt")) return false;
    w->source = "tnews";
    if (is_there(path)) {
        if (!read_titles(path, &titles)) return false;
    } else {
        w->source = "examples/news";
        static const char *const PARTS[] = {"train.txt", "dev.txt", "test.txt", "data.txt"};
        for (int i = 0; i < 4; i++) {
            char name[64];
            snprintf(name, sizeof name, "examples/news/%s", PARTS[i]);
            if (!join(path, root, name) || !read_titles(path, &titles)) return false;
        }
    }
    bool ok = titles.n > 0 && make_articles(&titles, &articles);
    w->titles = titles.texts;
    w->n_titles = titles.n;
    w->articles = articles.texts;
    w->n_articles = articles.n;
    return ok;
}

void workload_close(workload *w) {
    for (int i = 0; i < w->n_titles; i++) free(w->titles[i]);
    for (int i = 0; i < w->n_articles; i++) free(w->articles[i]);
    free(w->titles);
    free(w->articles);
}

char **workload_texts(const workload *w, const bench_case *c, int *n) {
    int wanted = c->kind == CASE_TRAIN ? c->slice * c->batch_size : c->slice;
    int there = c->long_texts ? w->n_articles : w->n_titles;
    *n = wanted < there ? wanted : there;
    return c->long_texts ? w->articles : w->titles;
}

/* ---- data directories, runs, ids ---- */

/* dir/data/CASE with train.txt of the case's texts, labels in turn. */
static bool write_data(const workload *w, const bench_case *c, const char *dir) {
    int n, label = 0, n_labels = 0;
    static char names[LABELS][64];
    char **texts = workload_texts(w, c, &n), path[PATH_BYTES], line[256];
    if (!make_dir(dir) || !join(path, w->root, "examples/news/label.txt")) return false;
    FILE *in = fopen(path, "r"), *labels = begin_file(dir, "label.txt"),
         *train = begin_file(dir, "train.txt");
    if (!in || !labels || !train) return complain("cannot use", path);
    while (n_labels < LABELS && fgets(line, sizeof line, in)) {
        fputs(line, labels);
        snprintf(names[n_labels++], sizeof *names, "%.*s", (int)strcspn(line, "=\n"), line);
    }
    fclose(in);
    for (int i = 0; i < n; i++, label = (label + 1) % n_labels)
        fprintf(train, "%s\t%s\n", texts[i], names[label]);
    return end_file(labels, dir, "label.txt") && end_file(train, dir, "train.txt");
}

bool workload_lines(const workload *w, int n, char path[PATH_BYTES]) {
    char name[64];
    snprintf(name, sizeof name, "titles-%d.txt", n);
    if (!join(path, w->dir, name)) return false;
    if (is_there(path)) return true;
    FILE *f = begin_file(w->dir, name);
    for (int i = 0; f && i < n; i++) fprintf(f, "%s\n", w->titles[i % w->n_titles]);
    return f && end_file(f, w->dir, name);
}

bool workload_data(const workload *w, const bench_case *c, char path[PATH_BYTES]) {
    char name[128];
    snprintf(name, sizeof name, "data");
    if (!join(path, w->dir, name) || !make_dir(path)) return false;
    snprintf(name, sizeof name, "data/%s", c->name);
    return join(path, w->dir, name) && write_data(w, c, path);
}

bool workload_run_dir(const workload *w, const char *shape, char path[PATH_BYTES]) {
    char name[64], model[PATH_BYTES], data[PATH_BYTES], done[PATH_BYTES];
    const bench_case few = {"labels", CASE_TRAIN, shape, .batch_size = 1, .slice = 30};
    snprintf(name, sizeof name, "%s-run", shape);
    if (!join(path, w->dir, name) || !join(done, path, "all_results.json")) return false;
    if (is_there(done)) return true;
    if (!workload_model(w, shape, model) || !workload_data(w, &few, data)) return false;
    /* One step at rate 0: the weights stay those of the model. */
    char *values[] = {"--do_train", "--data_dir", data, "--model_name_or_path", model,
                      "--output_dir", path, "--prompt", WORKLOAD_PROMPT, "--max_steps", "1",
                      "--learning_rate", "0", "--ppt_learning_rate", "0", "--save_strategy", "no",
                      "--per_device_train_batch_size", "2", "--max_seq_length", "512"};
    cloze_args args = {(int)(sizeof values / sizeof *values), values};
    cloze_error error = {CLOZE_OK, ""};
    if (cloze_train(args, NULL, NULL, &error) == CLOZE_OK) return true;
    fprintf(stderr, "bench: making a run in %s: %s\n", path, error.message);
    return false;
}

static void put_ids(FILE *f, const char *key, const int32_t *ids, int n, const char *end) {
    fprintf(f, "\"%s\": [", key);
    for (int i = 0; i < n; i++) fprintf(f, "%s%d", i ? ", " : "", (int)ids[i]);
    fprintf(f, "]%s", end);
}

bool workload_ids(const workload *w, const bench_case *c, char path[PATH_BYTES], double *n_tokens) {
    char run[PATH_BYTES], dir[PATH_BYTES], name[128];
    int n;
    char **texts = workload_texts(w, c, &n);
    cloze_predictor *p = NULL;
    cloze_input *inputs = NULL;
    cloze_error error = {CLOZE_OK, ""};
    double tokens = 0;
    snprintf(name, sizeof name, "%s.jsonl", c->name);
    if (!workload_run_dir(w, c->shape, run) || !join(dir, w->dir, "ids") || !make_dir(dir) ||
        !join(path, dir, name))
        return false;
    bool ok = cloze_predictor_open(run, NULL, &p, &error) == CLOZE_OK &&
              cloze_predictor_encode(p, (const char *const *)texts, NULL, (size_t)n, &inputs,
                                     &error) == CLOZE_OK;
    if (!ok) fprintf(stderr, "bench: %s: %s\n", run, error.message);
    FILE *f = ok ? begin_file(dir, name) : NULL;
    for (int i = 0; f && i < n; i++) {
        const cloze_input *in = &inputs[i];
        tokens += in->n_tokens;
        fputc('{', f);
        put_ids(f, "input_ids", in->input_ids, in->n_tokens, ", ");
        put_ids(f, "token_type_ids", in->token_type_ids, in->n_tokens, ", ");
        put_ids(f, "position_ids", in->position_ids, in->n_tokens, ", ");
        put_ids(f, "masked_positions", in->masked_positions, in->n_masks, ", ");
        fprintf(f, "\"label\": %d}\n", i % LABELS);
    }
    ok = f && end_file(f, dir, name);
    cloze_inputs_free(inputs);
    cloze_predictor_close(p);
    if (n_tokens) *n_tokens = tokens;
    return ok;
}

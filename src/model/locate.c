/* Model names to directories: shipped models and the peers' caches. Nothing is downloaded. */
#include "model/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/config.h"

/* A search: places are tried in turn until one is found or memory runs out. */
typedef struct search {
    const char *name;
    char *found;
    bool out_of_memory;
} search;

static bool is_over(const search *s) { return s->found || s->out_of_memory; }

/* Ends the search at dir when it is there and has a configuration. Takes dir; NULL is want of
 * memory. */
static void accept(search *s, char *dir) {
    bool found = false;
    if (!dir || (file_is_dir(dir) && model_config_find(dir, &found, NULL) != CLOZE_OK))
        s->out_of_memory = true;
    if (found)
        s->found = dir;
    else
        mem_free(dir);
}

static void accept_under(search *s, const char *parent, const char *middle, const char *name) {
    buf b;
    if (is_over(s) || !parent || !*parent) return;
    buf_init(&b, SIZE_MAX / 2);
    buf_printf(&b, "%s%s/%s", parent, middle, name);
    accept(s, buf_take(&b));
}

/* The program's own directory, or "" when it cannot be told. */
static void program_dir(char out[4096]) {
    ssize_t n = readlink("/proc/self/exe", out, 4095);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash) *slash = 0;
}

/* The sorted names in a directory; none when it cannot be read. */
static size_t list(search *s, const char *dir, char ***names) {
    size_t n = 0;
    if (is_over(s) || !file_is_dir(dir)) return 0;
    cloze_status status = dir_list(dir, names, &n, NULL);
    if (status == CLOZE_ERR_MEMORY) s->out_of_memory = true;
    return status == CLOZE_OK ? n : 0;
}

/* MODEL_DIR/snapshots/HASH with a config.json: the last one in name order. */
static void search_snapshots(search *s, const char *hub, const char *entry) {
    char **hashes = NULL, *model_dir = path_join(hub, entry),
         *snapshots = model_dir ? path_join(model_dir, "snapshots") : NULL;
    if (!snapshots) s->out_of_memory = true;
    size_t n = snapshots ? list(s, snapshots, &hashes) : 0;
    for (size_t i = n; i > 0; i--) accept_under(s, snapshots, "", hashes[i - 1]);
    if (hashes) dir_list_free(hashes, n);
    mem_free(model_dir);
    mem_free(snapshots);
}

/* HUB/models--ORG--NAME, or of any owner and of none where the name has no slash. */
static void search_hub(search *s, const char *hub) {
    char **entries = NULL, wanted[512];
    const char *slash = strchr(s->name, '/');
    if (!hub) return;
    if (slash)
        snprintf(wanted, sizeof wanted, "models--%.*s--%s", (int)(slash - s->name), s->name,
                 slash + 1);
    else
        snprintf(wanted, sizeof wanted, "--%s", s->name);
    size_t n = list(s, hub, &entries), w = strlen(wanted);
    for (size_t i = 0; i < n && !is_over(s); i++) {
        size_t length = strlen(entries[i]);
        if (strncmp(entries[i], "models--", 8) == 0 && length >= w &&
            strcmp(entries[i] + length - w, wanted) == 0)
            search_snapshots(s, hub, entries[i]);
    }
    if (entries) dir_list_free(entries, n);
}

/* MODELS/NAME, and MODELS/OWNER/NAME of any owner where the name has no slash: PaddleNLP keeps
 * community models that way. */
static void search_paddle(search *s, const char *home, const char *middle) {
    char **owners = NULL;
    accept_under(s, home, middle, s->name);
    if (is_over(s) || !home || !*home || strchr(s->name, '/')) return;
    char *models = path_join(home, middle + 1);
    if (!models) s->out_of_memory = true;
    size_t n = models ? list(s, models, &owners) : 0;
    for (size_t i = 0; i < n && !is_over(s); i++) {
        char *owner = path_join(models, owners[i]);
        if (!owner) s->out_of_memory = true;
        accept_under(s, owner, "", s->name);
        mem_free(owner);
    }
    if (owners) dir_list_free(owners, n);
    mem_free(models);
}

static void search_caches(search *s) {
    const char *home = getenv("HOME"), *hf_home = getenv("HF_HOME");
    char path[4096];
    search_hub(s, getenv("HF_HUB_CACHE"));
    if (hf_home) {
        snprintf(path, sizeof path, "%s/hub", hf_home);
        search_hub(s, path);
    }
    if (home) {
        snprintf(path, sizeof path, "%s/.cache/huggingface/hub", home);
        search_hub(s, path);
    }
    search_paddle(s, getenv("PPNLP_HOME"), "/models");
    search_paddle(s, home, "/.paddlenlp/models");
}

cloze_status model_locate(const char *name, char **out, cloze_error *err) {
    char program[4096];
    search s = {.name = name};
    *out = NULL;
    if (!*name) CLOZE_FAIL(err, USAGE, "the model's name is empty");
    if (file_is_dir(name)) {
        *out = mem_strdup(name);
        if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory");
        return CLOZE_OK;
    }
    if (file_exists(name))
        CLOZE_FAIL(err, MODEL, "%s: is a file; give the directory of the model that it is in",
                   name);
    program_dir(program);
    accept_under(&s, getenv("CLOZE_MODELS"), "", name);
    accept_under(&s, ".", "/models", name);
    accept_under(&s, program, "/models", name);
    accept_under(&s, program, "/../models", name);
    accept_under(&s, program, "/../share/cloze/models", name);
    search_caches(&s);
    *out = s.found;
    if (s.found) return CLOZE_OK;
    if (s.out_of_memory)
        CLOZE_FAIL(err, MEMORY, "out of memory looking for the model %.200s", name);
    if (name[0] == '/' || name[0] == '.' || name[0] == '~')
        CLOZE_FAIL(err, MODEL,
                   "%.200s: no such model directory. Nothing is downloaded: put config.json, "
                   "vocab.txt and model.safetensors (or pytorch_model.bin, or PaddleNLP's "
                   "model_state.pdparams) there, or use the shipped model: --model_name_or_path "
                   "cloze-mini-zh",
                   name);
    CLOZE_FAIL(
        err, MODEL,
        "%.200s: no such model directory, and no model of that name in $CLOZE_MODELS, "
        "./models, the Hugging Face cache or the Paddle cache (~/.paddlenlp/models). Nothing "
        "is downloaded: put config.json, vocab.txt and model.safetensors (or "
        "pytorch_model.bin, or PaddleNLP's model_state.pdparams) into ./models/%.200s/, or "
        "give the path of a directory that holds them; the shipped model works at once: "
        "--model_name_or_path cloze-mini-zh",
        name, name);
}

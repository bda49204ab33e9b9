/*
 * Saving: the files a tokenizer was read from, byte for byte, and a tokenizer_config.json and
 * special_tokens_map.json where there were none. Only an option that overrode the files changes
 * them.
 */
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer_impl.h"

static const source_file *find_file(const tokenizer *tok, const char *name) {
    for (int i = 0; i < tok->n_files; i++)
        if (!strcmp(tok->files[i].name, name)) return &tok->files[i];
    return NULL;
}

static cloze_status write_file(const char *dir, const char *name, const char *data, size_t n,
                               cloze_error *err) {
    char *path = path_join(dir, name);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory (path)");
    cloze_status status = file_write_atomic(path, data, n, err);
    mem_free(path);
    return status;
}

static cloze_status write_json(const char *dir, const char *name, const cJSON *root,
                               cloze_error *err) {
    char *text = json_print(root);
    if (!text) CLOZE_FAIL(err, MEMORY, "out of memory (%s)", name);
    cloze_status status = write_file(dir, name, text, strlen(text), err);
    mem_free(text);
    return status;
}

static bool set_bool(cJSON *object, const char *key, bool value) {
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    return cJSON_AddBoolToObject(object, key, value) != NULL;
}

/* A token with flags, as transformers writes it. */
static bool add_token_object(cJSON *object, const char *key, const added_token *token) {
    cJSON *item = cJSON_AddObjectToObject(object, key);
    return item && cJSON_AddStringToObject(item, "content", token->content) &&
           cJSON_AddBoolToObject(item, "lstrip", token->lstrip) &&
           cJSON_AddBoolToObject(item, "normalized", token->normalized) &&
           cJSON_AddBoolToObject(item, "rstrip", token->rstrip) &&
           cJSON_AddBoolToObject(item, "single_word", token->single_word) &&
           cJSON_AddBoolToObject(item, "special", token->special);
}

/* {"cls_token": "[CLS]", ...}; with_flags: "mask_token": {"content": "<mask>", "lstrip": true, ...}
 * where a token has any. (Old transformers read such objects in special_tokens_map.json only.) */
static bool add_roles(const tokenizer *tok, cJSON *object, bool with_flags) {
    for (int role = 0; role < ROLE_COUNT; role++) {
        const char *content = tok->roles[role], *key = tokenizer_role_keys[role];
        if (!content) continue;
        const added_token *token = added_tokens_find(&tok->added, content, strlen(content));
        bool plain =
            !with_flags || !token || !(token->lstrip || token->rstrip || token->single_word);
        if (plain ? !cJSON_AddStringToObject(object, key, content)
                  : !add_token_object(object, key, token))
            return false;
    }
    return true;
}

/* What transformers must know to read the files to the same ids. */
static bool fill_config(const tokenizer *tok, cJSON *config) {
    bool ok = true;
    const char *class = tok->class_name;
    if (find_file(tok, "tokenizer.json")) {
        if (!class) class = "PreTrainedTokenizerFast";
    } else if (tok->kind == TOKENIZER_WORDPIECE) {
        if (!class) class = "BertTokenizer";
        ok = cJSON_AddBoolToObject(config, "do_lower_case", tok->switches.lowercase) &&
             cJSON_AddBoolToObject(config, "strip_accents", tok->switches.strip_accents) &&
             cJSON_AddBoolToObject(config, "tokenize_chinese_chars",
                                   tok->switches.handle_chinese_chars);
    } else {
        if (!class) class = tok->special.cls >= 0 ? "RobertaTokenizer" : "GPT2Tokenizer";
        ok = cJSON_AddBoolToObject(config, "add_prefix_space", tok->add_prefix_space) != NULL;
    }
    if (tok->max_length)
        ok = ok && cJSON_AddNumberToObject(config, "model_max_length", tok->max_length) != NULL;
    return ok && add_roles(tok, config, false) &&
           cJSON_AddStringToObject(config, "tokenizer_class", class);
}

static cloze_status write_new_config(const tokenizer *tok, const char *dir, const char *name,
                                     cloze_error *err) {
    cJSON *root = cJSON_CreateObject();
    bool whole = !strcmp(name, "tokenizer_config.json");
    bool ok = root && (whole ? fill_config(tok, root) : add_roles(tok, root, true));
    cloze_status status = ok ? write_json(dir, name, root, err)
                             : error_set(err, CLOZE_ERR_MEMORY, "out of memory (%s)", name);
    cJSON_Delete(root);
    return status;
}

/* Every BertNormalizer under `item` gets the lower-casing that was asked for. */
static bool patch_normalizer(cJSON *item, bool lower) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(item, "type");
    if (cJSON_IsString(type) && !strcmp(type->valuestring, "BertNormalizer"))
        return set_bool(item, "lowercase", lower);
    cJSON *child;
    cJSON_ArrayForEach(child,
                       cJSON_GetObjectItemCaseSensitive(
                           item, "normalizers")) if (!patch_normalizer(child, lower)) return false;
    return true;
}

/* A file whose do_lower_case was overridden by the option. */
static cloze_status write_patched(const tokenizer *tok, const char *dir, const source_file *file,
                                  cloze_error *err) {
    cJSON *root = NULL;
    CLOZE_TRY(json_parse(file->data, file->n, file->name, CLOZE_ERR_MODEL, &root, err));
    bool lower = tok->forced_lower_case;
    bool ok = !strcmp(file->name, "tokenizer.json")
                  ? patch_normalizer(cJSON_GetObjectItemCaseSensitive(root, "normalizer"), lower)
                  : set_bool(root, "do_lower_case", lower);
    cloze_status status = ok ? write_json(dir, file->name, root, err)
                             : error_set(err, CLOZE_ERR_MEMORY, "out of memory (%s)", file->name);
    json_destroy(root);
    return status;
}

cloze_status tokenizer_save(const tokenizer *tok, const char *dir, cloze_error *err) {
    CLOZE_TRY(dir_create(dir, err));
    bool forced = tok->kind == TOKENIZER_WORDPIECE && tok->forced_lower_case >= 0;
    for (int i = 0; i < tok->n_files; i++) {
        const source_file *file = &tok->files[i];
        bool states_it =
            !strcmp(file->name, "tokenizer.json") || !strcmp(file->name, "tokenizer_config.json");
        if (forced && states_it)
            CLOZE_TRY(write_patched(tok, dir, file, err));
        else
            CLOZE_TRY(write_file(dir, file->name, file->data, file->n, err));
    }
    static const char *const generated[] = {"tokenizer_config.json", "special_tokens_map.json"};
    for (int i = 0; i < 2; i++)
        if (!find_file(tok, generated[i])) CLOZE_TRY(write_new_config(tok, dir, generated[i], err));
    return CLOZE_OK;
}

/* --class_weights. */
#include "train/class_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define WEIGHTS_MAX_BYTES ((size_t)16 << 20)

/* Where a weight was read, and the code of an error there. */
typedef struct weight_source {
    const char *what;
    cloze_status code;
    const label_set *labels;
    float *weights; /* (C) */
} weight_source;

static cloze_status set_weight(const weight_source *s, const char *name, size_t n, double weight,
                               cloze_error *err) {
    int32_t label = label_set_find(s->labels, name, n);
    if (label < 0) {
        const char *hint = label_set_nearest(s->labels, name, n);
        return error_set(err, s->code, "%s: there is no label \"%.*s\"%s%s%s", s->what,
                         (int)(n > 80 ? 80 : n), name, hint ? "; did you mean \"" : "",
                         hint ? hint : "", hint ? "\"?" : "");
    }
    if (!isfinite(weight) || weight < 0 || weight > 1e6)
        return error_set(err, s->code,
                         "%s: the weight of \"%s\" is %g; it must be from 0 to 1000000", s->what,
                         s->labels->entries[label].name, weight);
    s->weights[label] = (float)weight;
    return CLOZE_OK;
}

static cloze_status from_json(const weight_source *s, const cJSON *root, cloze_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(root))
        return error_set(err, s->code, "%s: not a JSON object {\"label\": weight, ...}", s->what);
    cJSON_ArrayForEach(item, root) {
        if (!cJSON_IsNumber(item))
            return error_set(err, s->code, "%s: the weight of \"%.80s\" is not a number", s->what,
                             item->string);
        CLOZE_TRY(set_weight(s, item->string, strlen(item->string), item->valuedouble, err));
    }
    return CLOZE_OK;
}

/* label=2,other=0.5: a label may hold '=', a comma cannot be in one. */
static cloze_status from_pairs(const weight_source *s, const char *spec, cloze_error *err) {
    for (const char *at = spec; *at;) {
        size_t n = strcspn(at, ","), name = n;
        char *end;
        while (name > 0 && at[name - 1] != '=') name--;
        if (name < 2)
            return error_set(err, s->code, "%s: \"%.*s\" is not label=weight", s->what,
                             (int)(n > 80 ? 80 : n), at);
        double weight = strtod(at + name, &end);
        if (end != at + n || name == n)
            return error_set(err, s->code, "%s: \"%.*s\" is not a number", s->what,
                             (int)(n - name > 80 ? 80 : n - name), at + name);
        CLOZE_TRY(set_weight(s, at, name - 1, weight, err));
        at += at[n] ? n + 1 : n;
    }
    return CLOZE_OK;
}

static cloze_status balanced(const weight_source *s, const dataset *train, cloze_error *err) {
    int64_t *counts;
    int32_t n_occurring = 0;
    MEM_NEW(err, counts, s->labels->n);
    dataset_count_labels(train, s->labels, counts, NULL);
    for (int32_t c = 0; c < s->labels->n; c++) n_occurring += counts[c] > 0;
    for (int32_t c = 0; c < s->labels->n; c++)
        if (counts[c])
            s->weights[c] = (float)((double)train->n / ((double)n_occurring * (double)counts[c]));
    mem_free(counts);
    return CLOZE_OK;
}

static cloze_status fill(weight_source *s, const char *spec, const dataset *train,
                         cloze_error *err) {
    cJSON *root = NULL;
    if (strcmp(spec, "balanced") == 0) return balanced(s, train, err);
    if (*spec == '{') {
        CLOZE_TRY(json_parse(spec, strlen(spec), s->what, s->code, &root, err));
    } else if (strchr(spec, '=') && !file_exists(spec)) {
        return from_pairs(s, spec, err);
    } else {
        s->what = spec;
        s->code = CLOZE_ERR_DATA;
        if (!file_exists(spec))
            CLOZE_FAIL(err, DATA,
                       "--class_weights %s: no such file (or write balanced, or label=2,other=0.5)",
                       spec);
        CLOZE_TRY(json_parse_file(spec, WEIGHTS_MAX_BYTES, s->code, &root, err));
    }
    cloze_status status = from_json(s, root, err);
    json_destroy(root);
    return status;
}

cloze_status class_weights_make(const char *spec, const label_set *labels, const dataset *train,
                                float **out, cloze_error *err) {
    weight_source s = {.what = "--class_weights", .code = CLOZE_ERR_USAGE, .labels = labels};
    *out = NULL;
    if (!spec) return CLOZE_OK;
    MEM_NEW(err, s.weights, labels->n + 1);
    for (int32_t c = 0; c < labels->n; c++) s.weights[c] = 1;
    cloze_status status = fill(&s, spec, train, err);
    bool any = false;
    for (int64_t i = 0; i < train->n; i++) any = any || s.weights[train->examples[i].label] > 0;
    if (status == CLOZE_OK && !any)
        status = error_set(err, s.code, "%s: all training examples would weigh 0", s.what);
    if (status != CLOZE_OK)
        mem_free(s.weights);
    else
        *out = s.weights;
    return status;
}

/* Which model families there are. */
#include <string.h>

#include "base/buf.h"
#include "model/bert.h"

static const model_def *const MODEL_DEFS[] = {&model_def_bert, &model_def_roberta,
                                              &model_def_ernie};

cloze_status model_def_find(const char *model_type, const char *what, const model_def **out,
                            cloze_error *err) {
    buf known;
    buf_init(&known, 512);
    for (size_t i = 0; i < sizeof MODEL_DEFS / sizeof *MODEL_DEFS; i++) {
        for (const char *const *type = MODEL_DEFS[i]->model_types; *type; type++) {
            if (strcmp(*type, model_type) == 0) {
                *out = MODEL_DEFS[i];
                buf_deinit(&known);
                return CLOZE_OK;
            }
            buf_printf(&known, "%s%s", known.len ? ", " : "", *type);
        }
    }
    cloze_status status =
        error_set(err, CLOZE_ERR_MODEL, "%s: model_type \"%s\" is not one that is known (%s)", what,
                  model_type, buf_ok(&known) ? known.data : "");
    buf_deinit(&known);
    return status;
}

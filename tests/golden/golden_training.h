/* What the golden tests that train share: the optimizer steps that fixture.json asks for. */
#ifndef CLOZE_TESTS_GOLDEN_TRAINING_H
#define CLOZE_TESTS_GOLDEN_TRAINING_H

#include "golden/golden_fixture.h"
#include "train/schedule.h"

static double fixture_number(const fixture *f, const char *key) {
    double value = NAN;
    MUST(json_get_double(f->settings, key, &value, err));
    if (isnan(value)) fail_msg("%s: fixture.json has no %s", f->name, key);
    return value;
}

static double loss_value(const fixture *f, const engine *e, const var *loss) {
    int64_t n;
    float *value = read_var(f, e->tape, loss, &n);
    double result = value[0];
    mem_free(value);
    return result;
}

static param_block *begin_training(model *m) {
    param_block *block = NULL;
    model_set_requires_grad(m, true);
    MUST(model_train_begin(m, NULL, 0, &block, err));
    return block;
}

static void take_step(const fixture *f, const engine *e, param_block *block, int64_t step) {
    schedule s = {.total_steps = (int64_t)fixture_number(f, "steps")};
    s.kind =
        strcmp(fixture_setting(f, "schedule"), "linear") == 0 ? SCHEDULE_LINEAR : SCHEDULE_CONSTANT;
    double max_norm = fixture_number(f, "max_grad_norm"), norm = 0.0, clip = 1.0;
    if (max_norm > 0) {
        MUST(param_block_grad_norm(block, e->backend, e->device, &norm, err));
        clip = fmin(1.0, max_norm / (norm + 1e-6)); /* torch.nn.utils.clip_grad_norm_ */
    }
    adamw_spec spec = {
        .lr = (float)(fixture_number(f, "learning_rate") * schedule_multiplier(&s, step)),
        .beta1 = 0.9f,
        .beta2 = 0.999f,
        .eps = 1e-8f,
        .weight_decay = (float)fixture_number(f, "weight_decay"),
        .grad_scale = (float)clip,
        .step = step + 1,
    };
    MUST(param_block_adamw(block, e->backend, e->device, (adamw_spec[2]){spec, spec}, err));
}

#endif

/* The convert command: a model or run directory written again in another format. */
#ifndef CLOZE_DEPLOY_CONVERT_H
#define CLOZE_DEPLOY_CONVERT_H

#include "train/options.h"

/*
 * Reads options->model (a directory or a name) and writes options->output_dir: the weights as
 * options->format in options->dtype, the configuration in the target's form, the tokenizer's files
 * and, of a trained run, what else it consists of. The output is read back and every tensor compared
 * with its source before the directory gets its name. ERR_USAGE for an output directory that is the
 * input or not empty. results gets {"output_dir", "format", "tensors", "parameters", "bytes"}.
 */
cloze_status convert_run(options *o, const cloze_callbacks *callbacks, buf *results,
                         cloze_error *err);

#endif

/* Where a model named on the command line lives. */
#ifndef CLOZE_MODEL_LOCATE_H
#define CLOZE_MODEL_LOCATE_H

#include "base/error.h"

/*
 * The directory of a model: name itself when it is a directory; else, with a configuration in it,
 *
 *   $CLOZE_MODELS/NAME, ./models/NAME, models/NAME beside the program or above it,
 *   the Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub: any owner),
 *   the Paddle cache ($PPNLP_HOME/models, ~/.paddlenlp/models: NAME, or any owner's OWNER/NAME).
 *
 * ERR_MODEL says which files to put where. *out is a heap string (mem_free).
 */
cloze_status model_locate(const char *name, char **out, cloze_error *err);

#endif

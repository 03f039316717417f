// Reads the XML of thin_dump (and of `karst thin dump`) and tells it to a sink, piece by piece: the memory
// does not depend on its length.
//
// What is not as it should be is refused, with its line: unknown elements and attributes, missing attributes,
// numbers that do not fit, elements where they cannot be, document types, text. Of what the sink refuses the
// line is said too.
#pragma once
#include "core/bytes.h"
#include "core/function_ref.h"
#include "thin/tool/pool_sink.h"

namespace karst::thin {

// Fills the buffer, or less at the end; 0 is the end.
using ReadText = FunctionRef<Result<size_t>(MutableBytes into)>;

Result<void> read_pool_xml(ReadText read, PoolSink& sink);

}  // namespace karst::thin

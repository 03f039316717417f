// The formats of a dump. XML and text are those of thin_dump, byte for byte.
#pragma once
#include <memory>

#include "thin/tool/pool_sink.h"
#include "thin/tool/text_out.h"

namespace karst::thin {

enum class DumpFormat : uint8_t { xml, human_readable, json };

// What it writes goes to `out`, which outlives it; end_pool() flushes.
std::unique_ptr<PoolSink> make_dump_writer(DumpFormat format, TextOut& out);

}  // namespace karst::thin

#include "thin/tool/xml_reader.h"

#include <expat.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "core/printable.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

struct FreeParser {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};
using Parser = std::unique_ptr<std::remove_pointer_t<XML_Parser>, FreeParser>;

// An element's attributes, taken one by one; what nobody takes is wrong.
class Attributes {
 public:
  Attributes(const char* element, const char** attributes) : element_(element) {
    for (; *attributes != nullptr; attributes += 2) left_.push_back({attributes[0], attributes[1]});
  }

  std::optional<std::string_view> take(std::string_view name) {
    const auto found = std::ranges::find(left_, name, &Attribute::name);
    if (found == left_.end()) return std::nullopt;
    const std::string_view value = found->value;
    left_.erase(found);
    return value;
  }
  Result<std::string_view> required(std::string_view name) {
    const auto value = take(name);
    if (!value) return Error::make(err::invalid, "<{}> without attribute '{}'", element_, name);
    return *value;
  }
  template <typename T>
  Result<T> number(std::string_view name) {
    return parse<T>(name, TRY(required(name)));
  }
  template <typename T>
  Result<std::optional<T>> optional_number(std::string_view name) {
    const auto value = take(name);
    if (!value) return std::optional<T>();
    return std::optional<T>(TRY(parse<T>(name, *value)));
  }
  Result<void> none_left() const {
    if (left_.empty()) return {};
    return Error::make(err::invalid, "<{}> with unknown attribute '{}'", element_,
                       printable(left_.front().name));
  }

 private:
  struct Attribute {
    std::string_view name, value;
  };
  template <typename T>
  Result<T> parse(std::string_view name, std::string_view text) {
    T value{};
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && rest == end && !text.empty()) return value;
    return Error::make(err::invalid, "<{}>: '{}' of attribute '{}' is not a number from 0 to {}", element_,
                       printable(text), name, std::numeric_limits<T>::max());
  }
  const char* const element_;
  std::vector<Attribute> left_;
};

class PoolParser {
 public:
  explicit PoolParser(PoolSink& sink) : sink_(sink) {}
  Result<void> parse(ReadText read);

 private:
  enum class Place { outside, pool, section, mapping, after };

  // Expat's callbacks; an error, or no memory, stops it.
  static void on_start(void* self, const char* element, const char** attributes) {
    static_cast<PoolParser*>(self)->guarded(
        [&](PoolParser& parser) { return parser.start(element, attributes); });
  }
  static void on_end(void* self, const char* element) {
    static_cast<PoolParser*>(self)->guarded([&](PoolParser& parser) { return parser.end(element); });
  }
  static void on_text(void* self, const char* text, int length) {
    static_cast<PoolParser*>(self)->guarded([&](PoolParser&) -> Result<void> {
      for (int i = 0; i < length; ++i)
        if (std::string_view(" \t\r\n").find(text[i]) == std::string_view::npos)
          return Error(err::invalid, "text between elements");
      return {};
    });
  }
  static void on_doctype(void* self, const char*, const char*, const char*, int) {
    static_cast<PoolParser*>(self)->guarded([&](PoolParser&) -> Result<void> {
      return Error(err::invalid, "document types and entities of one's own are not supported");
    });
  }

  template <typename F>
  void guarded(F&& step) {
    if (error_) return;
    try {
      if (auto done = step(*this); !done) error_ = std::move(done).error();
    } catch (const std::bad_alloc&) {
      error_ = Error(err::no_memory, "not enough memory");
    }
    if (error_) XML_StopParser(parser_.get(), XML_FALSE);
  }

  Result<void> start(std::string_view element, const char** attributes);
  Result<void> end(std::string_view element);
  Result<void> start_pool(Attributes attributes);
  Result<void> start_device(Attributes attributes);
  Result<void> start_mapping(std::string_view element, Attributes attributes);
  Error with_line(Error error) const {
    return std::move(error).at("line", XML_GetCurrentLineNumber(parser_.get()));
  }

  PoolSink& sink_;
  Parser parser_;
  Place place_ = Place::outside;
  std::optional<Error> error_;
};

Error misplaced(std::string_view element) {
  return Error::make(err::invalid, "<{}> is unknown, or not at its place", printable(element));
}

Result<void> PoolParser::start(std::string_view element, const char** attributes) {
  Attributes all(element.data(), attributes);
  switch (place_) {
    case Place::outside:
      if (element != "superblock") return misplaced(element);
      place_ = Place::pool;
      return start_pool(std::move(all));
    case Place::pool:
      place_ = Place::section;
      if (element == "device") return start_device(std::move(all));
      if (element == "def") {
        const std::string name(TRY(all.required("name")));
        TRY(all.none_left());
        return sink_.begin_def(name);
      }
      return misplaced(element);
    case Place::section: place_ = Place::mapping; return start_mapping(element, std::move(all));
    case Place::mapping:
    case Place::after: return misplaced(element);
  }
  return {};
}

Result<void> PoolParser::end(std::string_view element) {
  switch (place_) {
    case Place::mapping: place_ = Place::section; return {};
    case Place::section: place_ = Place::pool; return element == "def" ? sink_.end_def() : sink_.end_device();
    case Place::pool: place_ = Place::after; return sink_.end_pool();
    case Place::outside:
    case Place::after: break;
  }
  return misplaced(element);
}

Result<void> PoolParser::start_pool(Attributes attributes) {
  PoolFacts facts;
  facts.uuid = attributes.take("uuid").value_or("");
  facts.time = TRY(attributes.number<uint32_t>("time"));
  facts.transaction = TRY(attributes.number<uint64_t>("transaction"));
  facts.flags = TRY(attributes.optional_number<uint32_t>("flags")).value_or(0);
  facts.version = TRY(attributes.optional_number<uint32_t>("version")).value_or(2);
  facts.data_block_size = TRY(attributes.number<uint32_t>("data_block_size"));
  facts.nr_data_blocks = TRY(attributes.number<uint64_t>("nr_data_blocks"));
  facts.metadata_snap = TRY(attributes.optional_number<uint64_t>("metadata_snap"));
  TRY(attributes.none_left());
  return sink_.begin_pool(facts);
}

Result<void> PoolParser::start_device(Attributes attributes) {
  DeviceFacts facts;
  facts.id = TRY(attributes.number<uint32_t>("dev_id"));
  facts.mapped_blocks = TRY(attributes.number<uint64_t>("mapped_blocks"));
  facts.transaction = TRY(attributes.number<uint64_t>("transaction"));
  facts.creation_time = TRY(attributes.number<uint32_t>("creation_time"));
  facts.snap_time = TRY(attributes.number<uint32_t>("snap_time"));
  TRY(attributes.none_left());
  return sink_.begin_device(facts);
}

Result<void> PoolParser::start_mapping(std::string_view element, Attributes attributes) {
  if (element == "ref") {
    const std::string name(TRY(attributes.required("name")));
    TRY(attributes.none_left());
    return sink_.ref(name);
  }
  const bool single = element == "single_mapping";
  if (!single && element != "range_mapping") return misplaced(element);
  MappingRun run;
  run.begin = VirtualBlock{TRY(attributes.number<uint64_t>(single ? "origin_block" : "origin_begin"))};
  run.data = DataBlock{TRY(attributes.number<uint64_t>(single ? "data_block" : "data_begin"))};
  run.length = single ? 1 : TRY(attributes.number<uint64_t>("length"));
  run.time = TRY(attributes.number<uint32_t>("time"));
  TRY(attributes.none_left());
  return sink_.map(run);
}

Result<void> PoolParser::parse(ReadText read) {
  constexpr int piece = 64 << 10;
  parser_.reset(XML_ParserCreate("UTF-8"));
  if (!parser_) return Error(err::no_memory, "not enough memory");
  XML_SetUserData(parser_.get(), this);
  XML_SetElementHandler(parser_.get(), on_start, on_end);
  XML_SetCharacterDataHandler(parser_.get(), on_text);
  XML_SetStartDoctypeDeclHandler(parser_.get(), on_doctype);
  for (bool at_end = false; !at_end;) {
    void* buffer = XML_GetBuffer(parser_.get(), piece);
    if (buffer == nullptr) return Error(err::no_memory, "not enough memory");
    const size_t length = TRY(read({static_cast<std::byte*>(buffer), piece}));
    at_end = length == 0;
    if (XML_ParseBuffer(parser_.get(), static_cast<int>(length), at_end) == XML_STATUS_OK) continue;
    if (error_) return with_line(std::move(*error_));
    return with_line(Error::make(err::invalid, "not well-formed XML: {}",
                                 XML_ErrorString(XML_GetErrorCode(parser_.get()))));
  }
  return {};
}

}  // namespace

Result<void> read_pool_xml(ReadText read, PoolSink& sink) { return PoolParser(sink).parse(read); }

}  // namespace karst::thin

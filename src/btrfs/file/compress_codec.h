// The codecs behind compress.h, one file each.
//
// Decoders return how many bytes of out they filled; what out holds beyond that, or after an error, is up to
// the library, and compress.cc clears it. in and out are not empty and sizes fit into 30 bits. Encoders
// return nothing if the result is larger than out.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "core/bytes.h"
#include "core/result.h"

namespace karst::btrfs {

class ZlibDecoder {
 public:
  static Result<ZlibDecoder> create();
  Result<size_t> decode(Bytes in, MutableBytes out);
  bool holds_addresses() const;

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  explicit ZlibDecoder(State* state) : state_(state) {}
  Result<size_t> decode_prefix(Bytes in, MutableBytes out);
  std::unique_ptr<State, Free> state_;
};

class ZlibEncoder {
 public:
  static Result<ZlibEncoder> create(int level);
  Result<std::optional<size_t>> encode(Bytes in, MutableBytes out);

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  explicit ZlibEncoder(State* state) : state_(state) {}
  std::unique_ptr<State, Free> state_;
};

class LzoDecoder {
 public:
  static Result<LzoDecoder> create();
  Result<size_t> decode(Bytes in, MutableBytes out, uint32_t sectorsize);
  Result<size_t> decode_inline(Bytes in, MutableBytes out, uint32_t sectorsize);

 private:
  Result<size_t> decode_segment(Bytes segment, MutableBytes out, uint32_t sectorsize);
  std::unique_ptr<std::byte[]> sector_;
};

class LzoEncoder {
 public:
  static Result<LzoEncoder> create();
  Result<std::optional<size_t>> encode(Bytes in, MutableBytes out, uint32_t sectorsize);

 private:
  std::unique_ptr<std::byte[]> memory_;   // the library's
  std::unique_ptr<std::byte[]> segment_;  // one, which may be larger than its sector
};

class ZstdDecoder {
 public:
  static Result<ZstdDecoder> create();
  Result<size_t> decode(Bytes in, MutableBytes out);

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  explicit ZstdDecoder(State* state) : state_(state) {}
  Result<size_t> decode_prefix(Bytes frame, MutableBytes out);
  std::unique_ptr<State, Free> state_;
};

class ZstdEncoder {
 public:
  static Result<ZstdEncoder> create(int level);
  Result<std::optional<size_t>> encode(Bytes in, MutableBytes out);

 private:
  struct State;
  struct Free {
    void operator()(State* state) const;
  };
  explicit ZstdEncoder(State* state) : state_(state) {}
  std::unique_ptr<State, Free> state_;
};

}  // namespace karst::btrfs

// A reference to something callable, for parameters: two words, no allocation, not kept beyond the call.
#pragma once
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace karst {

template <typename Signature>
class FunctionRef;

template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, Args...>)
      FunctionRef(F&& function) {
    using Target = std::remove_reference_t<F>;
    if constexpr (std::is_function_v<Target>) {
      target_.function = reinterpret_cast<void (*)()>(&function);
      call_ = [](Storage target, Args... args) -> R {
        return std::invoke(reinterpret_cast<Target*>(target.function), std::forward<Args>(args)...);
      };
    } else {
      target_.object = const_cast<void*>(static_cast<const volatile void*>(std::addressof(function)));
      call_ = [](Storage target, Args... args) -> R {
        return std::invoke(*static_cast<Target*>(target.object), std::forward<Args>(args)...);
      };
    }
  }
  R operator()(Args... args) const { return call_(target_, std::forward<Args>(args)...); }

 private:
  union Storage {
    void* object;
    void (*function)();
  };
  Storage target_;
  R (*call_)(Storage, Args...);
};

}  // namespace karst

# long spawn(struct clone_args *args, size_t size, struct step *first, struct report *report)
#
# Blocks all signals, clones, and in the child walks the steps until an execve succeeds or a step fails for good.
# The parent gets clone3's result (a pid, or -errno) once the child has executed or is gone (CLONE_VFORK).
# The child shares memory and stack with the parent, so it touches neither the stack nor anything but steps and report.
#
# struct step { long number; long args[6]; long result; long indirect; long tolerated; long on_success; long on_failure; }   96 bytes
#   indirect    bit i: args[i] is the address of the value (another step's result), not the value
#   tolerated   bit e: errno e (1-63) does not end the child
#   on_success, on_failure   bytes from this step to the next one
# struct report { struct step *failed; long errno; unsigned long all_signals; unsigned long previous_signals; long pid_namespace; long own_pid_namespace; }
#   pid_namespace   descriptor of the pid namespace the child is to be born in, or -1; the thread goes back to its own right after the clone,
#                   so that no code of the runtime ever runs (and starts a thread) in between
        .intel_syntax noprefix
spawn:
        push    rbx
        push    r12
        push    r13
        push    r14
        mov     rbx, rdx
        mov     r12, rcx
        mov     r13, rdi
        mov     r14, rsi
        xor     edi, edi                # SIG_BLOCK
        lea     rsi, [r12 + 16]
        lea     rdx, [r12 + 24]
        mov     r10d, 8
        mov     eax, 14                 # rt_sigprocmask
        syscall
        mov     rdi, [r12 + 32]
        test    rdi, rdi
        js      clone
        mov     esi, 0x20000000         # CLONE_NEWPID
        mov     eax, 308                # setns
        syscall
        test    rax, rax
        js      unblock
clone:
        mov     rdi, r13
        mov     rsi, r14
        mov     eax, 435                # clone3
        syscall
        test    rax, rax
        jz      next
        cmp     qword ptr [r12 + 32], 0
        jl      unblock
        mov     r13, rax
        mov     rdi, [r12 + 40]
        mov     esi, 0x20000000         # CLONE_NEWPID
        mov     eax, 308                # setns
        syscall
        mov     rax, r13
unblock:
        mov     r13, rax
        mov     edi, 2                  # SIG_SETMASK
        lea     rsi, [r12 + 24]
        xor     edx, edx
        mov     r10d, 8
        mov     eax, 14                 # rt_sigprocmask
        syscall
        mov     rax, r13
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        ret

next:
        mov     r13, [rbx + 64]         # indirect
        mov     rdi, [rbx + 8]
        test    r13b, 1
        jz      1f
        mov     rdi, [rdi]
1:      mov     rsi, [rbx + 16]
        test    r13b, 2
        jz      2f
        mov     rsi, [rsi]
2:      mov     rdx, [rbx + 24]
        test    r13b, 4
        jz      3f
        mov     rdx, [rdx]
3:      mov     r10, [rbx + 32]
        test    r13b, 8
        jz      4f
        mov     r10, [r10]
4:      mov     r8, [rbx + 40]
        test    r13b, 16
        jz      5f
        mov     r8, [r8]
5:      mov     r9, [rbx + 48]
        mov     rax, [rbx]
        syscall
        mov     [rbx + 56], rax         # result
        cmp     rax, -4095
        jae     failed
        add     rbx, [rbx + 80]         # on_success
        jmp     next
failed:
        neg     rax
        cmp     rax, 63
        ja      die
        mov     rdx, [rbx + 72]         # tolerated
        bt      rdx, rax
        jnc     die
        add     rbx, [rbx + 88]         # on_failure
        jmp     next
die:
        mov     [r12], rbx
        mov     [r12 + 8], rax
        mov     edi, 255
        mov     eax, 231                # exit_group
        syscall
        mov     edi, 255
        mov     eax, 60                 # exit, should a filter refuse the other
        syscall
        ud2

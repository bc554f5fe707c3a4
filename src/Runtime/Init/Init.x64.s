# The program behind --init: /sbin/docker-init -- command arguments...
#
# Starts the command in a process group of its own, which gets the terminal, forwards signals to it, reaps whatever the kernel gives it
# as process 1, and exits with the command's status, or 128 + the signal that ended it. 127: no such command, 126: not allowed.
# All signals are blocked for good and taken by rt_sigtimedwait, so that nothing here runs concurrently.
#
# Registers: r12 command, r13 &argv[command], r14 envp; the parent: r15d the command's pid, ebx its status or -1.
# Stack: [rsp] the signal mask we were given, +8 all signals, +16 a wait status or process group, +32 siginfo (128), +160 a path or iovecs.
        .intel_syntax noprefix
        .equ    PATH_MAX_DIRECTORY, 3800
        .equ    FRAME, 4352
start:
        mov     rax, [rsp]              # argc
        lea     r13, [rsp + 8]          # argv
        lea     r14, [r13 + rax*8 + 8]  # envp
        sub     rsp, FRAME
        add     r13, 8                  # past our own name
        mov     r12, [r13]
        test    r12, r12
        jz      usage
        cmp     word ptr [r12], 0x2d2d  # "--"
        jne     block
        cmp     byte ptr [r12 + 2], 0
        jne     block
        add     r13, 8
        mov     r12, [r13]
        test    r12, r12
        jz      usage
block:
        mov     qword ptr [rsp + 8], -1
        mov     edi, 2                  # SIG_SETMASK
        lea     rsi, [rsp + 8]
        mov     rdx, rsp
        mov     r10d, 8
        mov     eax, 14                 # rt_sigprocmask
        syscall
        mov     eax, 57                 # fork
        syscall
        test    eax, eax
        js      usage
        jz      child
        mov     r15d, eax
        mov     ebx, -1
wait:
        lea     rdi, [rsp + 8]
        lea     rsi, [rsp + 32]
        xor     edx, edx                # for ever
        mov     r10d, 8
        mov     eax, 128                # rt_sigtimedwait
        syscall
        test    eax, eax
        jle     wait                    # EINTR, after a stop
        cmp     eax, 17                 # SIGCHLD
        je      reap
        cmp     eax, 21                 # SIGTTIN, SIGTTOU: about us, not about the command
        je      wait
        cmp     eax, 22
        je      wait
        mov     edi, r15d
        mov     esi, eax
        mov     eax, 62                 # kill
        syscall
        jmp     wait
reap:                                   # one SIGCHLD may stand for many
        mov     edi, -1
        lea     rsi, [rsp + 16]
        mov     edx, 1                  # WNOHANG
        xor     r10d, r10d
        mov     eax, 61                 # wait4
        syscall
        test    eax, eax
        jle     reaped
        cmp     eax, r15d
        jne     reap
        mov     ecx, [rsp + 16]
        movzx   ebx, ch                 # exit status
        and     ecx, 0x7f
        jz      reap
        lea     ebx, [rcx + 128]        # signal
        jmp     reap
reaped:
        test    ebx, ebx
        js      wait
exit:
        mov     edi, ebx
        mov     eax, 231                # exit_group
        syscall
usage:
        mov     ebx, 1
        jmp     exit

child:
        xor     edi, edi
        xor     esi, esi
        mov     eax, 109                # setpgid: a group of its own
        syscall
        mov     eax, 39                 # getpid
        syscall
        mov     [rsp + 16], eax
        xor     edi, edi
        mov     esi, 0x5410             # TIOCSPGRP; no terminal, no harm. SIGTTOU is blocked, so it does not stop us
        lea     rdx, [rsp + 16]
        mov     eax, 16                 # ioctl
        syscall
        mov     edi, 2                  # SIG_SETMASK
        mov     rsi, rsp
        xor     edx, edx
        mov     r10d, 8
        mov     eax, 14                 # rt_sigprocmask
        syscall

        mov     rdi, r12                # a command with a slash is a path, any other is looked for along PATH, as execvp(3) does
slash:
        mov     al, [rdi]
        inc     rdi
        cmp     al, '/'
        je      direct
        test    al, al
        jnz     slash
        sub     rdi, r12
        mov     rbp, rdi                # length with the final 0
        mov     ebx, 2                  # ENOENT, unless something else happens
        cmp     rbp, 1
        je      fail
        cmp     rbp, 256                # NAME_MAX
        ja      toolong
        mov     rsi, r14
environment:
        mov     rax, [rsi]
        add     rsi, 8
        test    rax, rax
        jz      nopath
        cmp     dword ptr [rax], 0x48544150 # "PATH"
        jne     environment
        cmp     byte ptr [rax + 4], '='
        jne     environment
        lea     r15, [rax + 5]
        jmp     directory
nopath:
        lea     r15, [rip + default]
directory:
        lea     rdi, [rsp + 160]
        lea     rdx, [rdi + PATH_MAX_DIRECTORY]
copy:
        mov     al, [r15]
        test    al, al
        jz      copied
        cmp     al, ':'
        je      copied
        cmp     rdi, rdx
        jae     toolong
        stosb
        inc     r15
        jmp     copy
copied:
        lea     rax, [rsp + 160]
        cmp     rdi, rax
        je      append                  # an empty element is the working directory
        mov     al, '/'
        stosb
append:
        mov     rsi, r12
        mov     rcx, rbp
        rep movsb
        lea     rdi, [rsp + 160]
        call    execute
        cmp     eax, -2                 # ENOENT
        je      next
        cmp     eax, -20                # ENOTDIR
        je      next
        neg     eax
        mov     ebx, eax
        cmp     eax, 13                 # EACCES: told only if no other is found
        jne     fail
next:
        cmp     byte ptr [r15], 0
        je      fail
        inc     r15
        jmp     directory
toolong:
        mov     ebx, 36                 # ENAMETOOLONG
        jmp     fail
direct:
        mov     rdi, r12
        call    execute
        neg     eax
        mov     ebx, eax

fail:                                   # writev of four pieces
        lea     rdi, [rsp + 160]
        lea     rsi, [rip + prefix]
        mov     ecx, prefix_end - prefix
        call    piece
        mov     rsi, r12
        mov     rcx, -1
length:
        inc     rcx
        cmp     byte ptr [rsi + rcx], 0
        jne     length
        call    piece
        lea     rsi, [rip + middle]
        mov     ecx, middle_end - middle
        call    piece
        mov     r8d, 127
        lea     rsi, [rip + enoent]
        mov     ecx, enoent_end - enoent
        cmp     ebx, 2
        je      told
        mov     r8d, 126
        lea     rsi, [rip + eacces]
        mov     ecx, eacces_end - eacces
        cmp     ebx, 13
        je      told
        mov     r8d, 1
        lea     rsi, [rip + enoexec]
        mov     ecx, enoexec_end - enoexec
        cmp     ebx, 8
        je      told
        lea     rsi, [rip + other]
        mov     ecx, other_end - other
told:
        call    piece
        mov     ebx, r8d
        mov     edi, 2
        lea     rsi, [rsp + 160]
        mov     edx, 4
        mov     eax, 20                 # writev
        syscall
        jmp     exit

piece:                                  # struct iovec at rdi: rsi, rcx
        mov     [rdi], rsi
        mov     [rdi + 8], rcx
        add     rdi, 16
        ret

execute:                                # path in rdi; returns a negative errno
        mov     rsi, r13
        mov     rdx, r14
        mov     eax, 59                 # execve
        syscall
        cmp     eax, -8                 # ENOEXEC: a script without #!
        jne     failed
        mov     rcx, [r13]
        mov     [r13], rdi              # sh path arguments...; the slot before is our own name or "--"
        lea     rdi, [rip + shell]
        lea     rsi, [r13 - 8]
        mov     [rsi], rdi
        mov     r9, rcx
        mov     eax, 59                 # execve
        syscall
        mov     [r13], r9
        mov     eax, -8
failed:
        ret

default:
        .asciz  "/bin:/usr/bin"
shell:
        .asciz  "/bin/sh"
prefix:
        .ascii  "[FATAL docker-init] exec "
prefix_end:
middle:
        .ascii  " failed: "
middle_end:
enoent:
        .ascii  "No such file or directory\n"
enoent_end:
eacces:
        .ascii  "Permission denied\n"
eacces_end:
enoexec:
        .ascii  "Exec format error\n"
enoexec_end:
other:
        .ascii  "it cannot be executed\n"
other_end:

// The program behind --init for arm64; what it does and why is told in Init.x64.s, whose labels these are.
//
// Registers: x19 command, x20 &argv[command], x21 envp; the parent: w22 the command's pid, w23 its status or -1;
// the child: x22 rest of PATH, x23 errno, x24 length of the command with its final 0.
// Stack: [sp] the signal mask we were given, +8 all signals, +16 a wait status or process group, +32 siginfo (128), +160 a path or iovecs.
        .equ    PATH_MAX_DIRECTORY, 3800
        .equ    FRAME, 4352
start:
        ldr     x0, [sp]                // argc
        add     x20, sp, #8             // argv
        add     x21, x20, x0, lsl #3
        add     x21, x21, #8            // envp
        sub     sp, sp, #FRAME & 0xfff
        sub     sp, sp, #FRAME & 0xfff000
        add     x20, x20, #8            // past our own name
        ldr     x19, [x20]
        cbz     x19, usage
        ldrb    w1, [x19]
        cmp     w1, #'-'
        b.ne    block
        ldrb    w1, [x19, #1]
        cmp     w1, #'-'
        b.ne    block
        ldrb    w1, [x19, #2]
        cbnz    w1, block
        add     x20, x20, #8
        ldr     x19, [x20]
        cbz     x19, usage
block:
        mov     x0, #-1
        str     x0, [sp, #8]
        mov     x0, #2                  // SIG_SETMASK
        add     x1, sp, #8
        mov     x2, sp
        mov     x3, #8
        mov     x8, #135                // rt_sigprocmask
        svc     #0
        mov     x0, #17                 // SIGCHLD
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x8, #220                // clone
        svc     #0
        tbnz    x0, #63, usage
        cbz     x0, child
        mov     w22, w0
        mov     w23, #-1
wait:
        add     x0, sp, #8
        add     x1, sp, #32
        mov     x2, #0                  // for ever
        mov     x3, #8
        mov     x8, #137                // rt_sigtimedwait
        svc     #0
        cmp     w0, #0
        b.le    wait
        cmp     w0, #17                 // SIGCHLD
        b.eq    reap
        cmp     w0, #21                 // SIGTTIN, SIGTTOU
        b.eq    wait
        cmp     w0, #22
        b.eq    wait
        mov     w1, w0
        mov     w0, w22
        mov     x8, #129                // kill
        svc     #0
        b       wait
reap:
        mov     w0, #-1
        sxtw    x0, w0
        add     x1, sp, #16
        mov     x2, #1                  // WNOHANG
        mov     x3, #0
        mov     x8, #260                // wait4
        svc     #0
        cmp     w0, #0
        b.le    reaped
        cmp     w0, w22
        b.ne    reap
        ldr     w1, [sp, #16]
        ubfx    w23, w1, #8, #8         // exit status
        ands    w1, w1, #0x7f
        b.eq    reap
        add     w23, w1, #128           // signal
        b       reap
reaped:
        tbnz    w23, #31, wait
exit:
        mov     w0, w23
        mov     x8, #94                 // exit_group
        svc     #0
usage:
        mov     w23, #1
        b       exit

child:
        mov     x0, #0
        mov     x1, #0
        mov     x8, #154                // setpgid
        svc     #0
        mov     x8, #172                // getpid
        svc     #0
        str     w0, [sp, #16]
        mov     x0, #0
        mov     x1, #0x5410             // TIOCSPGRP
        add     x2, sp, #16
        mov     x8, #29                 // ioctl
        svc     #0
        mov     x0, #2                  // SIG_SETMASK
        mov     x1, sp
        mov     x2, #0
        mov     x3, #8
        mov     x8, #135                // rt_sigprocmask
        svc     #0

        mov     x0, x19
slash:
        ldrb    w1, [x0], #1
        cmp     w1, #'/'
        b.eq    direct
        cbnz    w1, slash
        sub     x24, x0, x19
        mov     w23, #2                 // ENOENT
        cmp     x24, #1
        b.eq    fail
        cmp     x24, #256               // NAME_MAX
        b.hi    toolong
        mov     x1, x21
        ldr     w3, path
environment:
        ldr     x0, [x1], #8
        cbz     x0, nopath
        ldr     w2, [x0]                // unaligned, which is allowed; four bytes are there: the strings end in others' strings
        cmp     w2, w3
        b.ne    environment
        ldrb    w2, [x0, #4]
        cmp     w2, #'='
        b.ne    environment
        add     x22, x0, #5
        b       directory
nopath:
        adr     x22, default
directory:
        add     x0, sp, #160
        mov     x2, #PATH_MAX_DIRECTORY
        add     x2, x0, x2
copy:
        ldrb    w1, [x22]
        cbz     w1, copied
        cmp     w1, #':'
        b.eq    copied
        cmp     x0, x2
        b.hs    toolong
        strb    w1, [x0], #1
        add     x22, x22, #1
        b       copy
copied:
        add     x1, sp, #160
        cmp     x0, x1
        b.eq    append
        mov     w1, #'/'
        strb    w1, [x0], #1
append:
        mov     x1, x19
        mov     x2, x24
bytes:
        ldrb    w3, [x1], #1
        strb    w3, [x0], #1
        subs    x2, x2, #1
        b.ne    bytes
        add     x0, sp, #160
        bl      execute
        cmn     w0, #2                  // ENOENT
        b.eq    next
        cmn     w0, #20                 // ENOTDIR
        b.eq    next
        neg     w23, w0
        cmp     w23, #13                // EACCES
        b.ne    fail
next:
        ldrb    w1, [x22]
        cbz     w1, fail
        add     x22, x22, #1
        b       directory
toolong:
        mov     w23, #36                // ENAMETOOLONG
        b       fail
direct:
        mov     x0, x19
        bl      execute
        neg     w23, w0

fail:
        add     x9, sp, #160
        adr     x1, prefix
        mov     x2, #prefix_end - prefix
        stp     x1, x2, [x9], #16
        mov     x1, x19
        mov     x2, #-1
length:
        add     x2, x2, #1
        ldrb    w3, [x1, x2]
        cbnz    w3, length
        stp     x1, x2, [x9], #16
        adr     x1, middle
        mov     x2, #middle_end - middle
        stp     x1, x2, [x9], #16
        mov     w10, #127
        adr     x1, enoent
        mov     x2, #enoent_end - enoent
        cmp     w23, #2
        b.eq    told
        mov     w10, #126
        adr     x1, eacces
        mov     x2, #eacces_end - eacces
        cmp     w23, #13
        b.eq    told
        mov     w10, #1
        adr     x1, enoexec
        mov     x2, #enoexec_end - enoexec
        cmp     w23, #8
        b.eq    told
        adr     x1, other
        mov     x2, #other_end - other
told:
        stp     x1, x2, [x9], #16
        mov     w23, w10
        mov     x0, #2
        add     x1, sp, #160
        mov     x2, #4
        mov     x8, #66                 // writev
        svc     #0
        b       exit

execute:                                // path in x0; returns a negative errno
        mov     x9, x0
        mov     x1, x20
        mov     x2, x21
        mov     x8, #221                // execve
        svc     #0
        cmn     w0, #8                  // ENOEXEC
        b.ne    failed
        ldr     x10, [x20]
        str     x9, [x20]
        adr     x0, shell
        sub     x1, x20, #8
        str     x0, [x1]
        mov     x8, #221                // execve
        svc     #0
        str     x10, [x20]
        mov     w0, #-8
failed:
        ret

        .balign 4
path:
        .ascii  "PATH"
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
        .balign 4

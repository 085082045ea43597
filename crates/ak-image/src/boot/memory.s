# The memory functions that compiled code calls and no library supplies here. They are in assembly because the
# compiler may turn such a loop in Rust into a call of the same function. System V ABI: rdi, rsi, rdx; result in rax.

.macro function name
    .section .text.\name, "ax", @progbits
    .global \name
    .type \name, @function
    \name:
.endm

function memcpy
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret

function memmove
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb 2f
    rep movsb
    ret
    # The target starts inside the source: copy from the end.
2:  lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret

function memset
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

function memcmp
    .global bcmp
    bcmp:
    xor ecx, ecx
2:  cmp rcx, rdx
    je 3f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je 2b
    ret
3:  xor eax, eax
    ret

function strlen
    xor eax, eax
2:  cmp byte ptr [rdi + rax], 0
    je 3f
    inc rax
    jmp 2b
3:  ret
